//! Cores, and the time that processes spend on them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Clock ticks a second in `/proc/PID/stat`: the same on every Linux.
const TICKS: f64 = 100.0;

/// One core for the servers, in turn, and one for everything else: the
/// generator, the upstream and the API server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    server: usize,
    generator: usize,
}

impl Cores {
    /// Takes the first two cores that this process may use, and moves it to
    /// the second.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let cores: Vec<usize> = (0..CpuSet::count())
            .filter(|core| allowed.is_set(*core).unwrap_or(false))
            .take(2)
            .collect();
        ensure!(
            cores.len() == 2,
            "needs two cores: one serves, the other asks"
        );
        let cores = Self {
            server: cores.first().copied().unwrap_or_default(),
            generator: cores.last().copied().unwrap_or_default(),
        };
        pin(cores.generator)?;
        Ok(cores)
    }

    /// Runs `spawn` on the servers' core: the process that it starts stays there.
    pub(crate) fn on_server<T>(
        self,
        spawn: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        pin(self.server)?;
        let spawned = spawn();
        pin(self.generator)?;
        spawned
    }
}

/// Moves the calling thread; threads and processes that it starts follow.
fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("move to core {core}"))
}

/// Core-seconds that this machine's hypervisor has given to others so far.
pub(crate) fn stolen() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    Duration::from_secs_f64(steal(&text).unwrap_or_default() / TICKS)
}

/// The eighth figure of the first line: `cpu user nice system idle …`.
fn steal(stat: &str) -> Option<f64> {
    let mut figures = stat.lines().next()?.split_whitespace();
    figures.nth(8)?.parse().ok()
}

/// CPU time of a process, all threads, so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// User and system, to the nanosecond, from the scheduler.
    pub(crate) total: Duration,
    /// Which part of `total` was in user space, 0 to 1, from the ticks.
    pub(crate) user: f64,
    ticks: (f64, f64),
}

impl Cpu {
    /// # Errors
    ///
    /// When the process is gone.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between the two calls.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let run: u64 = text.split(' ').next().unwrap_or_default().parse()?;
            total += run;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (user, system) = ticks(&stat).context("utime and stime in /proc/PID/stat")?;
        Ok(Self {
            total: Duration::from_nanos(total),
            user: user / (user + system),
            ticks: (user, system),
        })
    }

    /// What was spent since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        let user = self.ticks.0 - earlier.ticks.0;
        let system = self.ticks.1 - earlier.ticks.1;
        Self {
            total: self.total.saturating_sub(earlier.total),
            user: user / (user + system).max(1.0 / TICKS),
            ticks: (user, system),
        }
    }
}

/// utime and stime: fields 14 and 15 of a text whose second field is a name
/// in parentheses that may hold anything.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 21 43 0 0 20 0";
        assert_eq!(ticks(stat), Some((21.0, 43.0)));
        assert_eq!(ticks("7 (x) S 1"), None);
    }

    #[test]
    fn stolen_time_is_that_of_all_cores() {
        let stat = "cpu  480918 0 70262 113904 1982 0 9871 1185 0 0\ncpu0 2 3";
        assert_eq!(steal(stat), Some(1185.0));
        assert_eq!(steal(""), None);
    }

    #[test]
    fn time_is_counted_for_this_process() {
        let pid = std::process::id();
        let (before, begun) = (Cpu::of(pid).unwrap(), std::time::Instant::now());
        while begun.elapsed() < Duration::from_millis(50) {}
        let used = Cpu::of(pid).unwrap().since(before);
        assert!(used.total > Duration::ZERO, "{used:?}");
        assert!((0.0..=1.0).contains(&used.user), "{used:?}");
    }
}
