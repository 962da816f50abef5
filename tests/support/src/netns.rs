//! A network namespace of a test's own: a node, a pod, what is around them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tokio::sync::oneshot;

/// Every name begins with this and the process id of the test, so that what a
/// killed test left behind is known for what it is.
const PREFIX: &str = "pando-test-";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with `lo` up. When dropped, the processes that run in
/// it are killed and it is gone, with its resolv.conf.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

/// A runtime that lives in a namespace: its tasks end when this is dropped.
#[derive(Debug)]
pub struct Inhabitant {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Netns {
    /// Why there can be no namespaces here: who is not root may not, and a
    /// container may not either. `None` where they can be had.
    #[must_use]
    pub fn missing() -> Option<&'static str> {
        static MISSING: OnceLock<Option<String>> = OnceLock::new();
        let missing = MISSING.get_or_init(|| {
            if !geteuid().is_root() {
                return Some("network namespaces need root".to_owned());
            }
            sweep();
            // Made and dropped: what is possible is what works.
            let probe = Self::create("probe").and_then(|netns| netns.run(["true"]));
            probe.err().map(|error| format!("{error:#}"))
        });
        missing.as_deref()
    }

    /// Makes one. `role` is part of its name, for who looks at a test that
    /// hangs.
    ///
    /// # Errors
    ///
    /// Where [`Self::missing`] says why.
    pub fn create(role: &str) -> anyhow::Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{role}", std::process::id());
        run(Command::new("ip").args(["netns", "add", &name]), "")?;
        let netns = Self { name };
        netns.ip("link set lo up\n")?;
        Ok(netns)
    }

    /// Its name, for `ip -n NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What programs started by [`Self::command`] find in /etc/resolv.conf.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn resolv_conf(&self, text: &str) -> anyhow::Result<()> {
        let folder = folder(&self.name);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join("resolv.conf"), text)?)
    }

    /// Runs lines of `ip -batch` here, as `addr add 10.0.0.1/24 dev eth0`.
    ///
    /// # Errors
    ///
    /// With what `ip` says; the lines before the wrong one stay done.
    pub fn ip(&self, lines: &str) -> anyhow::Result<()> {
        let mut command = Command::new("ip");
        run(command.args(["-n", &self.name, "-batch", "-"]), lines)?;
        Ok(())
    }

    /// Sets a sysctl by its path below /proc/sys.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn sysctl(&self, path: &str, value: &str) -> anyhow::Result<()> {
        let path = Path::new("/proc/sys").join(path);
        self.enter(|| fs::write(&path, value))?
            .with_context(|| path.display().to_string())
    }

    /// A program that will run here: with this namespace's network and
    /// resolv.conf. Its process id is the program's own.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a program here to its end and yields what it wrote to stdout.
    ///
    /// # Errors
    ///
    /// When it cannot be run or does not end well, with what it wrote.
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        program: I,
    ) -> anyhow::Result<String> {
        self.run_with(program, "")
    }

    /// As [`Self::run`], with a text as the program's input.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_with<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        program: I,
        input: &str,
    ) -> anyhow::Result<String> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(program);
        run(&mut command, input)
    }

    /// Calls `act` on a thread that is here. A socket that it opens stays
    /// here wherever it is used.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let name = &self.name;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                enter(name)?;
                anyhow::Ok(act())
            });
            let done = inside.join();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Calls `act` on a thread that is here and goes on.
    pub fn thread<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> JoinHandle<anyhow::Result<T>> {
        let name = self.name.clone();
        thread::spawn(move || enter(&name).and_then(|()| act()))
    }

    /// Starts a runtime on a thread that is here, waits until the future that
    /// `begin` makes has yielded its value, and lets the tasks that it spawned
    /// run on.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, and what the future says.
    pub fn inhabit<T, F, Fut>(&self, begin: F) -> anyhow::Result<(T, Inhabitant)>
    where
        T: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<T>>,
    {
        let name = self.name.clone();
        let (begun, first) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = enter(&name).and_then(|()| {
                let mut builder = tokio::runtime::Builder::new_current_thread();
                Ok(builder.enable_all().build()?)
            });
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(begun.send(Err(error))),
            };
            runtime.block_on(async {
                let value = begin().await;
                if begun.send(value).is_ok() {
                    // Ends by being dropped as well.
                    let _ = stopped.await;
                }
            });
        });
        let inhabitant = Inhabitant {
            stop: Some(stop),
            thread: Some(thread),
        };
        let value = first.recv().context("the inhabitant panicked")??;
        Ok((value, inhabitant))
    }

    /// Everything that a program may leave behind in a network: links,
    /// addresses, routes, and the rules of nft and of both kinds of iptables.
    /// Counters are left out.
    ///
    /// # Errors
    ///
    /// When `ip` cannot be run. Firewalls that are not installed have nothing.
    pub fn state(&self) -> anyhow::Result<String> {
        let mut state = self.run(["ip", "-o", "link"])?;
        for command in [
            "ip -o addr",
            "ip route show table all",
            "ip -6 route show table all",
        ] {
            state += &self.run(command.split(' '))?;
        }
        let rules = [
            "nft -s list ruleset",
            "iptables-save",
            "ip6tables-save",
            "iptables-legacy-save",
            "ip6tables-legacy-save",
        ];
        for command in rules {
            let shown = self.run(command.split(' ')).unwrap_or_default();
            state += &format!("== {command}\n");
            for line in shown.lines().filter(|line| !line.starts_with('#')) {
                // `:INPUT ACCEPT [12:3456]`
                state += match line.starts_with(':') {
                    true => line.split(" [").next().unwrap_or(line),
                    false => line,
                };
                state += "\n";
            }
        }
        // Lifetimes count down.
        let without = |line: &str| line.split(" valid_lft").next().unwrap_or(line).to_owned();
        Ok(state.lines().map(without).collect::<Vec<_>>().join("\n"))
    }

    /// The ids of the processes that run here.
    ///
    /// # Errors
    ///
    /// When `ip` cannot be run.
    pub fn pids(&self) -> anyhow::Result<Vec<i32>> {
        pids(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Moves the calling thread there.
fn enter(name: &str) -> anyhow::Result<()> {
    let path = Path::new("/run/netns").join(name);
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {name}"))
}

fn folder(name: &str) -> PathBuf {
    Path::new("/etc/netns").join(name)
}

fn run(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| shown.clone())?;
    if let Some(mut pipe) = child.stdin.take() {
        // Who does not read its input says so by its status.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{shown}: {}: {stderr}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn pids(name: &str) -> anyhow::Result<Vec<i32>> {
    let listed = run(Command::new("ip").args(["netns", "pids", name]), "")?;
    Ok(listed.lines().filter_map(|pid| pid.parse().ok()).collect())
}

fn remove(name: &str) {
    // A program that restarts its worker is faster than one look.
    for _ in 0..10 {
        let running = pids(name).unwrap_or_default();
        if running.is_empty() {
            break;
        }
        for pid in running {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let deleted = run(Command::new("ip").args(["netns", "del", name]), "");
    if let Err(error) = deleted {
        eprintln!("{error:#}");
    }
    let _ = fs::remove_dir_all(folder(name));
}

/// Removes the namespaces of tests that were killed before they could.
fn sweep() {
    let Ok(listed) = fs::read_dir("/run/netns") else {
        return;
    };
    for entry in listed.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = (name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}

/// Joins two namespaces by a pair of links with these names, both up.
///
/// # Errors
///
/// When a name is taken.
pub fn link(one: (&Netns, &str), other: (&Netns, &str)) -> anyhow::Result<()> {
    let ((here, name), (there, peer)) = (one, other);
    if name.len() > 15 || peer.len() > 15 {
        bail!("names of links have at most 15 letters: {name}, {peer}");
    }
    here.ip(&format!(
        "link add {name} type veth peer name {peer} netns {}\nlink set {name} up\n",
        there.name
    ))?;
    there.ip(&format!("link set {peer} up\n"))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_runs_in_a_namespace_is_there_alone_and_leaves_nothing() {
        if let Some(reason) = Netns::missing() {
            println!("skipped: {reason}");
            return;
        }
        let (one, other) = (
            Netns::create("one").unwrap(),
            Netns::create("other").unwrap(),
        );
        link((&one, "eth0"), (&other, "eth0")).unwrap();
        let before = one.state().unwrap();
        one.ip("addr add 192.0.2.1/24 dev eth0\n").unwrap();
        other.ip("addr add 192.0.2.2/24 dev eth0\n").unwrap();
        assert_ne!(one.state().unwrap(), before);
        let socket = one.enter(|| UdpSocket::bind("192.0.2.1:53")).unwrap();
        let socket = socket.expect("nobody else is at port 53 here");
        let client = other.enter(|| UdpSocket::bind("192.0.2.2:0")).unwrap();
        let client = client.expect("a port");
        client.send_to(b"hello", "192.0.2.1:53").expect("sent");
        let mut buffer = [0; 16];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 5);
        one.resolv_conf("nameserver 192.0.2.53\n").unwrap();
        let seen = one.run(["cat", "/etc/resolv.conf"]).unwrap();
        assert_eq!(seen, "nameserver 192.0.2.53\n");

        let (name, folder) = (one.name.clone(), folder(&one.name));
        drop(one);
        assert!(!folder.exists());
        assert!(!Path::new("/run/netns").join(name).exists());
    }

    #[test]
    fn a_process_ends_with_its_namespace() {
        if let Some(reason) = Netns::missing() {
            println!("skipped: {reason}");
            return;
        }
        let netns = Netns::create("short").unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", netns.name(), "sleep", "100"]);
        let mut child = command.spawn().expect("starts");
        // The program is `ip` before it is `sleep`, and then it is inside.
        while netns.pids().unwrap().is_empty() {
            thread::yield_now();
        }
        drop(netns);
        assert!(!child.wait().expect("ends").success());
    }
}
