//! Text as search sees it: without case and accents.
