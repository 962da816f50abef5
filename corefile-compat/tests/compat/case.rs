//! A Corefile with the files and variables around it, and what comes of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use corefile::{Corefile, Error, Host, SystemHost, key};

/// The directives of CoreDNS 1.14.7.
const DIRECTIVES: &[&str] = &[
    "root",
    "metadata",
    "geoip",
    "cancel",
    "proxyproto",
    "quic",
    "grpc_server",
    "https",
    "https3",
    "timeouts",
    "multisocket",
    "reload",
    "nsid",
    "bufsize",
    "bind",
    "debug",
    "trace",
    "ready",
    "health",
    "pprof",
    "shed",
    "prometheus",
    "errors",
    "log",
    "dnstap",
    "local",
    "dns64",
    "any",
    "chaos",
    "loadbalance",
    "tsig",
    "rewrite",
    "autopath",
    "acl",
    "cache",
    "header",
    "dnssec",
    "tls",
    "minimal",
    "template",
    "transfer",
    "hosts",
    "route53",
    "azure",
    "clouddns",
    "k8s_external",
    "kubernetes",
    "file",
    "auto",
    "secondary",
    "etcd",
    "loop",
    "forward",
    "grpc",
    "erratic",
    "whoami",
    "on",
    "sign",
    "view",
    "nomad",
];

#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) text: &'static str,
    pub(crate) want: &'static str,
    files: &'static [(&'static str, &'static str)],
    pub(crate) env: &'static [(&'static str, &'static str)],
}

impl Case {
    pub(crate) const fn new(text: &'static str, want: &'static str) -> Self {
        Self {
            text,
            want,
            files: &[],
            env: &[],
        }
    }

    /// Files beside the Corefile.
    pub(crate) const fn files(self, files: &'static [(&'static str, &'static str)]) -> Self {
        Self { files, ..self }
    }

    pub(crate) const fn env(self, env: &'static [(&'static str, &'static str)]) -> Self {
        Self { env, ..self }
    }

    /// Puts the Corefile and its files into a new folder.
    pub(crate) fn write(&self) -> Folder {
        let folder = Folder::new();
        folder.file("Corefile", self.text);
        for (name, text) in self.files {
            folder.file(name, text);
        }
        folder
    }

    /// Reads the Corefile as a server would, up to the point where plugins
    /// come in; of these only `bind` is looked at.
    pub(crate) fn load(&self, folder: &Folder) -> Result<Corefile, Error> {
        let tree = corefile::parse(
            "Corefile",
            self.text,
            DIRECTIVES,
            &CaseHost { folder, case: self },
        )?;
        let mut overlap = key::Overlap::default();
        for (block, zones) in tree.blocks.iter().zip(key::inspect(&tree, 1053)?) {
            let bind = block.directive("bind");
            let addresses = bind.map_or(&[][..], |bind| &bind.tokens[1..]);
            for zone in zones {
                if addresses.is_empty() {
                    overlap.register(&zone, "", false)?;
                }
                for address in addresses {
                    overlap.register(&zone, &address.text, false)?;
                }
            }
        }
        Ok(tree)
    }
}

/// The real files of a folder, with relative paths beginning there, and the
/// variables of a case.
struct CaseHost<'c> {
    folder: &'c Folder,
    case: &'c Case,
}

impl Host for CaseHost<'_> {
    fn env(&self, name: &str) -> Option<String> {
        let var = self.case.env.iter().find(|(var, _)| *var == name);
        var.map(|(_, value)| (*value).to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        SystemHost::default().read(path)
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        SystemHost::default().glob(pattern)
    }

    fn absolute(&self, path: &str) -> io::Result<String> {
        let path = self.folder.path.join(path);
        SystemHost::default().absolute(&path.to_string_lossy())
    }

    fn warn(&self, _: &str) {}
}

/// A folder for the time of a test.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("corefile-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `text` with the name of this folder made the same in every run.
    pub(crate) fn hide(&self, text: &str) -> String {
        text.replace(&*self.path.to_string_lossy(), "$DIR")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind at worst.
        let _ = fs::remove_dir_all(&self.path);
    }
}
