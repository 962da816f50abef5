//! An image that was built, and a container of it.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use pando_test::{BOUND, Netns, Process};
use serde_json::{Value, json};
use tempfile::TempDir;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What `tests/image/build.sh` left of one image.
pub(super) struct Image {
    /// Its files.
    pub(super) rootfs: PathBuf,
    /// Its configuration, as the OCI image specification has it.
    pub(super) config: Value,
}

impl Image {
    /// `None`, after one line that says why, where it is not built.
    pub(super) fn find(name: &str) -> Option<Self> {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/image");
        let folder = built.join(name);
        let Ok(config) = fs::read_to_string(folder.join("config.json")) else {
            println!(
                "skipped: no image in {} (tests/image/build.sh builds it)",
                folder.display()
            );
            return None;
        };
        let mut read: Value = serde_json::from_str(&config).expect("JSON");
        Some(Self {
            rootfs: folder.join("rootfs"),
            config: read["OCIv1"].take(),
        })
    }

    /// The same where containers can be run as well.
    pub(super) fn runnable(name: &str) -> Option<Self> {
        let runc = Command::new("runc").arg("--version").output();
        let missing = match runc {
            Ok(_) => Netns::missing(),
            Err(_) => Some("no runc to run the image with"),
        };
        if let Some(why) = missing {
            println!("skipped: {why}");
            return None;
        }
        Self::find(name)
    }

    /// The paths of all that is no folder, sorted.
    pub(super) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.rootfs.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let entry = entry.expect("an entry");
                if entry.file_type().expect("a type").is_dir() {
                    folders.push(entry.path());
                } else {
                    let path = entry.path();
                    let path = path.strip_prefix(&self.rootfs).expect("below");
                    files.push(format!("/{}", path.display()));
                }
            }
        }
        files.sort_unstable();
        files
    }
}

/// A file or folder of the host at a place in the container.
pub(super) struct Mount {
    at: &'static str,
    from: PathBuf,
    mode: &'static str,
}

impl Mount {
    pub(super) fn read(at: &'static str, from: &Path) -> Self {
        Self {
            at,
            from: from.to_owned(),
            mode: "ro",
        }
    }

    pub(super) fn write(at: &'static str, from: &Path) -> Self {
        Self {
            mode: "rw",
            ..Self::read(at, from)
        }
    }
}

/// A running container. It is killed when dropped.
pub(super) struct Container {
    process: Process,
    id: String,
    bundle: TempDir,
}

impl Container {
    /// Starts the image's program, as the image's user, with these capabilities
    /// and no other, in the network of `netns` or in the host's.
    pub(super) fn start(
        image: &Image,
        netns: Option<&Netns>,
        arguments: &[&str],
        capabilities: &[&str],
        mounts: &[Mount],
    ) -> Self {
        let bundle = tempfile::Builder::new()
            .prefix("pando-container-")
            .tempdir()
            .expect("a folder");
        // Of its own, for runc makes the places of mounts in it.
        let copy = Command::new("cp")
            .arg("-a")
            .arg(&image.rootfs)
            .arg(bundle.path().join("rootfs"))
            .status();
        assert!(copy.expect("cp").success());
        let spec = spec(image, netns, arguments, capabilities, mounts);
        fs::write(bundle.path().join("config.json"), spec.to_string()).expect("written");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("pando-test-{}-{number}", std::process::id());
        let mut command = tokio::process::Command::from(runc(bundle.path()));
        command
            .args(["run", "--bundle"])
            .arg(bundle.path())
            .arg(&id);
        Self {
            process: Process::spawn(command, None).expect("runc starts"),
            id,
            bundle,
        }
    }

    /// Sends SIGTERM, as the kubelet does, and waits for the end.
    pub(super) async fn terminate(&mut self) -> ExitStatus {
        let mut kill = runc(self.bundle.path());
        let killed = kill.args(["kill", &self.id, "TERM"]).status();
        assert!(killed.expect("runc").success());
        self.process.wait_exit(BOUND).await.expect("an end")
    }
}

impl Deref for Container {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Container {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut delete = runc(self.bundle.path());
        delete.args(["delete", "--force", &self.id]);
        // It says so where there is nothing left to delete.
        let _ = delete.stderr(Stdio::null()).status();
    }
}

fn runc(bundle: &Path) -> Command {
    let mut command = Command::new("runc");
    command.arg("--root").arg(bundle.join("state"));
    command
}

/// The bundle's configuration, of what matters here.
fn spec(
    image: &Image,
    netns: Option<&Netns>,
    arguments: &[&str],
    capabilities: &[&str],
    mounts: &[Mount],
) -> Value {
    let config = &image.config["config"];
    let user = config["User"].as_str().expect("a user");
    let ids = user.split(':').map(|id| id.parse().expect("a number"));
    let ids: Vec<u32> = ids.collect();
    let mut command = config["Entrypoint"].as_array().expect("a program").clone();
    command.extend(arguments.iter().map(|&argument| argument.into()));
    let mut namespaces = vec![
        json!({ "type": "mount" }),
        json!({ "type": "pid" }),
        json!({ "type": "ipc" }),
        json!({ "type": "uts" }),
    ];
    if let Some(netns) = netns {
        let path = format!("/run/netns/{}", netns.name());
        namespaces.push(json!({ "type": "network", "path": path }));
    }
    let binds = mounts.iter().map(|mount| {
        json!({ "destination": mount.at, "type": "bind", "source": mount.from,
                "options": ["bind", mount.mode] })
    });
    let mut mounts = vec![json!({ "destination": "/proc", "type": "proc", "source": "proc" })];
    mounts.extend(binds);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": ids[0], "gid": ids[1] },
            "args": command,
            "env": config["Env"].as_array().cloned().unwrap_or_default(),
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": mounts,
        "linux": { "namespaces": namespaces },
    })
}
