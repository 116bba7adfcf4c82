//! Which limits fit this machine: by its memory, or by what the control groups of this process leave it.

use super::{Arguments, Result, wrong};
use crate::config::Limits;
use std::fs::read_to_string;
use std::path::Path;

/// With no more memory than this a node keeps the small limits.
const SMALL: u64 = 128 << 20;

/// `--limits small|desktop`, or by itself.
pub(super) fn limits(args: &mut Arguments) -> Result<Limits> {
    let chosen: Option<String> = args.opt_value_from_str("--limits")?;
    let memory = memory(Path::new("/"));
    let small = match chosen.as_deref() {
        Some("small") => true,
        Some("desktop") => false,
        None => memory.is_some_and(|bytes| bytes <= SMALL),
        Some(other) => return wrong(format!("--limits {other:?}: small or desktop")),
    };
    let limits = if small { Limits::small() } else { Limits::desktop() };
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    Ok(limits.within_memory(memory.unwrap_or(u64::MAX)).within_descriptors(most))
}

/// Bytes of memory that this process may use, as far as the system says: `root` is `/`.
fn memory(root: &Path) -> Option<u64> {
    let read = |path: &str| read_to_string(root.join(path)).unwrap_or_default();
    let meminfo = read("proc/meminfo");
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    let total = total.map(|kib| kib << 10);
    let groups = read("proc/self/cgroup");
    let bounds = groups.lines().filter_map(|line| {
        // `hierarchy:controllers:path`; version 2 has one hierarchy, number 0, without controllers.
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (base, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|one| one == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // Each group above counts, too. In a container the path may be the host's: then only the top is there.
        let above = Path::new(path.trim_start_matches('/')).ancestors();
        above
            .filter_map(|group| read(&format!("{base}/{}/{file}", group.display())).trim().parse().ok())
            .min()
    });
    bounds.chain(total).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, write};

    fn machine(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (path, text) in files {
            let path = root.path().join(path);
            create_dir_all(path.parent().expect("a folder")).expect("made");
            write(path, text).expect("written");
        }
        memory(root.path())
    }

    #[test]
    fn the_least_of_all_bounds_counts() {
        let total = ("proc/meminfo", "MemTotal:        2048000 kB\nMemFree: 5 kB\n");
        let whole = Some(2_048_000 << 10);
        assert_eq!(machine(&[]), None);
        assert_eq!(machine(&[total]), whole);
        let v2 = ("proc/self/cgroup", "0::/a/b\n");
        let at = |path: &'static str, text: &'static str| (path, text);
        assert_eq!(machine(&[total, v2, at("sys/fs/cgroup/a/b/memory.max", "max\n")]), whole);
        let inner = at("sys/fs/cgroup/a/b/memory.max", "67108864\n");
        assert_eq!(machine(&[total, v2, inner]), Some(64 << 20));
        let outer = at("sys/fs/cgroup/a/memory.max", "33554432\n");
        assert_eq!(machine(&[total, v2, inner, outer]), Some(32 << 20));
        // A container sees its own group as the top of all.
        let top = at("sys/fs/cgroup/memory.max", "100000000\n");
        assert_eq!(machine(&[total, v2, top]), Some(100_000_000));
        let v1 = ("proc/self/cgroup", "3:cpu:/x\n2:hugetlb,memory:/x\n0::/\n");
        let bound = at("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "50000000\n");
        assert_eq!(machine(&[total, v1, bound]), Some(50_000_000));
        let none = at("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[total, v1, none]), whole);
        assert_eq!(machine(&[("proc/meminfo", "nonsense"), ("proc/self/cgroup", "no\ncolons:here")]), None);
    }

    #[test]
    fn limits_are_chosen_or_refused() {
        let of = |words: &[&str]| {
            let words = words.iter().map(std::convert::Into::into).collect();
            limits(&mut Arguments::from_vec(words))
        };
        assert_eq!(of(&["--limits", "small"]).expect("known").unauth, Limits::small().unauth);
        assert_eq!(of(&["--limits", "desktop"]).expect("known").unauth, Limits::desktop().unauth);
        assert!(of(&[]).is_ok());
        let said = of(&["--limits", "tiny"]).expect_err("unknown").to_string();
        assert_eq!(said, "--limits \"tiny\": small or desktop");
        assert!(of(&["--limits"]).is_err());
    }
}
