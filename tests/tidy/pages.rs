//! The rules of the pages: the code map names what is there and nothing else, every dependency has its reason, and what
//! README tells people to run is run by us.

use std::collections::BTreeSet;
use std::path::Path;

/// The lines of the section `## title`.
fn section<'a>(page: &'a str, title: &str) -> Vec<&'a str> {
    let lines = page.lines().skip_while(|line| line.strip_prefix("## ") != Some(title)).skip(1);
    lines.take_while(|line| !line.starts_with("## ")).collect()
}

/// What stands between backquotes in the first column of the tables in `lines`.
fn first_column<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let cells = lines.iter().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

/// The code map against the files that there are. A module `src/x.rs` stands for the folder `src/x/`, too.
pub(crate) fn code_map(page: &str, sources: &[String], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let named = first_column(&section(page, "Code map"));
    let mut found = Vec::new();
    if named.is_empty() {
        found.push("ARCHITECTURE.md has no section `## Code map` with a table".to_owned());
    }
    let gone = named.iter().filter(|name| !exists(name));
    found
        .extend(gone.map(|name| format!("ARCHITECTURE.md: the code map names `{name}`, which is not there")));
    for path in sources {
        let covered = named.iter().any(|name| {
            let folder = name.strip_suffix(".rs").unwrap_or(name).trim_end_matches('/');
            path == name || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
        });
        if !covered {
            found.push(format!("{path}: not in ARCHITECTURE.md's code map: say in one line what it is for"));
        }
    }
    found
}

/// The names under `[dependencies]` and `[dev-dependencies]` (and those of one system) of a Cargo.toml.
pub(crate) fn dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            let end = table.rsplit('.').next().unwrap_or(table);
            inside = matches!(end, "dependencies" | "dev-dependencies" | "build-dependencies");
            // `[dependencies.name]` is a table of its own.
            if let Some((front, name)) = table.rsplit_once('.') {
                let front = front.rsplit('.').next().unwrap_or(front);
                if matches!(front, "dependencies" | "dev-dependencies" | "build-dependencies") {
                    names.push(name);
                }
            }
        } else if inside && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if !name.is_empty() && line.contains('=') {
                names.push(name);
            }
        }
    }
    names
}

/// Every dependency has one line in the table, and every line a dependency.
pub(crate) fn reasons(page: &str, manifest: &str) -> Vec<String> {
    let told: BTreeSet<&str> = first_column(&section(page, "Dependencies")).into_iter().collect();
    let used: BTreeSet<&str> = dependencies(manifest).into_iter().collect();
    let missing = used.difference(&told);
    let mut found: Vec<String> = missing
        .map(|name| format!("Cargo.toml: `{name}` has no line in ARCHITECTURE.md's table `## Dependencies`"))
        .collect();
    let stale = told.difference(&used);
    found.extend(stale.map(|name| format!("ARCHITECTURE.md: the dependency `{name}` is not in Cargo.toml")));
    found
}

/// What README marks as run (```` ```sh run ````) is a script of ours that can be executed, or a call of cargo.
pub(crate) fn commands(marked: &[String], executable: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    if !marked.iter().any(|line| line.starts_with("./")) || !marked.iter().any(|line| line == "cargo test") {
        found.push("README.md marks (```sh run) no `./script` or not `cargo test`".to_owned());
    }
    for line in marked {
        let script = line.split(' ').next().and_then(|word| word.strip_prefix("./"));
        let fine = line.starts_with("cargo ") || script.is_some_and(&executable);
        if !fine {
            found.push(format!("README.md: `{line}` is marked as run and is no script of this folder"));
        }
    }
    found
}

/// Whether a file may be executed by its owner.
pub(crate) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o100 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A\n## Code map\n| where | what |\n|---|---|\n| `src/a.rs` | a |\n| `src/b/`, `t.sh` | b |\n\
                        ## Dependencies\n| name | why |\n|---|---|\n| `mio` | `poll` |\n## Else\n| `src/c.rs` | |\n";

    #[test]
    fn the_map_and_the_files_agree() {
        let sources = ["src/a.rs", "src/a/x.rs", "src/b/y/z.rs"].map(str::to_owned);
        assert_eq!(code_map(PAGE, &sources, |_| true), Vec::<String>::new());
        assert_eq!(code_map(PAGE, &sources, |name| name != "t.sh").len(), 1);
        assert_eq!(code_map(PAGE, &["src/c.rs".to_owned(), "src/ab.rs".to_owned()], |_| true).len(), 2);
        assert_eq!(code_map("# nothing", &[], |_| true).len(), 1);
    }

    #[test]
    fn dependencies_and_reasons_agree() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nmio = \"1\"\n# no\n[lib]\nz = 1\n";
        assert_eq!(reasons(PAGE, manifest), Vec::<String>::new());
        let more = format!(
            "{manifest}[dev-dependencies]\ntempfile.workspace = true\n[target.x.dependencies.y]\nv = 1\n"
        );
        assert_eq!(dependencies(&more), ["mio", "tempfile", "y"]);
        assert_eq!(reasons(PAGE, &more).len(), 2);
        assert_eq!(reasons(PAGE, "[dependencies]\n").len(), 1);
    }

    #[test]
    fn what_is_marked_exists() {
        let marked = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        assert_eq!(commands(&marked(&["./demo", "cargo test"]), |_| true), Vec::<String>::new());
        assert_eq!(commands(&marked(&["./demo", "cargo test"]), |_| false).len(), 1);
        assert_eq!(commands(&marked(&["./demo"]), |_| true).len(), 1);
        assert_eq!(commands(&marked(&["./demo", "cargo test", "rm -r x"]), |_| true).len(), 1);
    }
}
