//! Progress: events for a program, a line for a person.

use super::{Due, Job, Operations, Work};
use crate::node::api::{Event, clock, plural};
use crate::node::fronts::progress::{self, Row};
use crate::node::ids::{FrontId, TransferId};
use crate::time::{Duration, Instant};

/// Time between two progress events of a transfer, and two drawings of the progress line.
pub(crate) const PROGRESS: Duration = Duration::from_millis(250);
/// An operation without bytes to count shows that it goes on after this.
const PATIENCE: Duration = Duration::from_secs(1);

impl<F> Operations<F> {
    /// Something began that may take a while.
    pub(crate) fn show_progress_soon(&mut self, now: Instant) {
        if self.fronts.show_progress() {
            self.timers.set_unless_armed(Due::Progress, now + PROGRESS, "progress");
        }
    }

    /// Shows to each what it asked for; to the operator what nobody waits for as well. `rows`: downloads that move; `so_far`: what
    /// a search says of itself; `is_read`: whether the source of a download reads the file still.
    pub(crate) fn show_progress(
        &mut self,
        now: Instant,
        mut rows: Vec<Row>,
        so_far: impl Fn(&F) -> String,
        is_read: impl Fn(TransferId) -> bool,
    ) {
        self.timers.set(Due::Progress, now + PROGRESS, "progress");
        rows.extend(self.jobs.iter().filter_map(|(_, job)| share_row(now, job)));
        for id in self.fronts.all() {
            let Some(front) = self.fronts.get(id) else { continue };
            let json = front.json;
            let its: Vec<&Row> = rows.iter().filter(|row| row.is_for(id)).collect();
            if json {
                its.into_iter().for_each(|row| self.tell_progress(id, row));
            } else if self.in_foreground(id) {
                let patience = || self.patience_line(now, id, &so_far, &is_read);
                let line = progress::line(&its).or_else(patience);
                if let Some((line, front)) = line.zip(self.fronts.get_mut(id)) {
                    front.console.progress(&line);
                }
            }
        }
    }

    fn tell_progress(&mut self, front: FrontId, row: &Row) {
        let Row { name, bytes, size, rate, sources, .. } = row;
        let (bytes, size, rate, sources) = (*bytes, *size, *rate, *sources);
        let op = row.ops.iter().find(|op| op.front == front).copied();
        self.tell(op, &Event::Progress { name, bytes, size, rate, sources });
    }

    /// An operation that takes long without bytes to count.
    fn patience_line(
        &self,
        now: Instant,
        front: FrontId,
        so_far: impl Fn(&F) -> String,
        is_read: impl Fn(TransferId) -> bool,
    ) -> Option<String> {
        let long = |job: &Job<F>| job.op.front == front && now - job.started >= PATIENCE;
        let (_, job) = self.jobs.iter().find(|(_, job)| long(job))?;
        let what = match &job.work {
            Work::Nodes { waiting, .. } => format!("waiting for {}", plural(*waiting, "node", "nodes")),
            Work::Find(found) => so_far(found),
            Work::Get(gets) if gets.waits.iter().any(|id| is_read(*id)) => {
                "waiting for the source to read the file".to_owned()
            }
            Work::Bootstrap => "waiting for the registry's answer".to_owned(),
            Work::Files { files, .. } => format!("{} so far", plural(*files, "file", "files")),
            _ => "under way".to_owned(),
        };
        Some(format!("{}: {what}  {}", job.op.command, clock(now - job.started)))
    }
}

/// A copy into the shared folder.
fn share_row<F>(now: Instant, job: &Job<F>) -> Option<Row> {
    let Work::Share { name, bytes, size, .. } = &job.work else { return None };
    Some(Row {
        ops: vec![job.op],
        name: name.clone(),
        bytes: *bytes,
        size: Some(*size),
        rate: None,
        sources: None,
        elapsed: now - job.started,
    })
}
