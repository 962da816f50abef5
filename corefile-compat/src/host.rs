//! What the parser asks of the world.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{glob, path, source};

/// The environment and the files that a Corefile may refer to.
pub trait Host {
    /// The value of an environment variable; `None` counts as empty.
    fn env(&self, name: &str) -> Option<String>;

    /// The text of a file to import. A folder is an error of kind
    /// [`io::ErrorKind::IsADirectory`].
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The files that match an absolute pattern with at most one `*` and one
    /// `?`, in order of name. A plain path matches itself when it exists. Files
    /// that can't be looked at match nothing; a pattern that makes no sense is
    /// an error of kind [`io::ErrorKind::InvalidInput`].
    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>>;

    /// `path` without `.` and `..`, from the root. Symbolic links stay.
    fn absolute(&self, path: &str) -> io::Result<String>;

    /// Tells the operator what is odd but no error. The message has no level
    /// and no line end.
    fn warn(&self, message: &str);
}

/// The process's own environment and files. Warnings go to the function given
/// to [`SystemHost::new`], by default to standard error.
#[derive(Debug, Clone, Copy)]
pub struct SystemHost {
    warn: fn(&str),
}

impl SystemHost {
    /// A host that hands each warning to `warn`.
    pub fn new(warn: fn(&str)) -> Self {
        Self { warn }
    }
}

impl Default for SystemHost {
    fn default() -> Self {
        Self::new(|message| eprintln!("[WARNING] {message}"))
    }
}

impl Host for SystemHost {
    fn env(&self, name: &str) -> Option<String> {
        let value = std::env::var_os(name)?;
        Some(source::decode(value.as_encoded_bytes()))
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read(path).map(|bytes| source::decode(&bytes))
    }

    fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        glob::files(pattern)
    }

    fn absolute(&self, path: &str) -> io::Result<String> {
        if path.starts_with('/') {
            return Ok(path::clean(path));
        }
        let cwd = std::env::current_dir()?;
        Ok(path::join(&cwd.to_string_lossy(), path))
    }

    fn warn(&self, message: &str) {
        (self.warn)(message);
    }
}

/// An I/O error in the words that Go has for it: `no such file or directory`.
pub fn io_message(error: &io::Error) -> String {
    let text = error.to_string();
    let Some(code) = error.raw_os_error() else {
        return text;
    };
    let text = text.trim_end_matches(&format!(" (os error {code})"));
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use super::*;

    /// A host made of maps. The working folder is `/work`.
    #[derive(Debug, Default)]
    pub(crate) struct Fake {
        vars: BTreeMap<String, String>,
        files: BTreeMap<String, Option<String>>,
        pub(crate) warnings: RefCell<Vec<String>>,
    }

    impl Fake {
        pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
            self.vars.insert(name.into(), value.into());
            self
        }

        pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
            self.files.insert(path.into(), Some(text.into()));
            self
        }

        pub(crate) fn dir(mut self, path: &str) -> Self {
            self.files.insert(path.into(), None);
            self
        }
    }

    impl Host for Fake {
        fn env(&self, name: &str) -> Option<String> {
            self.vars.get(name).cloned()
        }

        fn read(&self, path: &Path) -> io::Result<String> {
            match self.files.get(&*path.to_string_lossy()) {
                Some(Some(text)) => Ok(text.clone()),
                Some(None) => Err(io::Error::from_raw_os_error(21)),
                None => Err(io::Error::from_raw_os_error(2)),
            }
        }

        fn glob(&self, pattern: &str) -> io::Result<Vec<PathBuf>> {
            let mut found = Vec::new();
            for file in self.files.keys() {
                if glob::matches(pattern, file)? {
                    found.push(file.into());
                }
            }
            Ok(found)
        }

        fn absolute(&self, path: &str) -> io::Result<String> {
            Ok(if path.starts_with('/') {
                path::clean(path)
            } else {
                path::join("/work", path)
            })
        }

        fn warn(&self, message: &str) {
            self.warnings.borrow_mut().push(message.into());
        }
    }

    #[test]
    fn errors_in_the_words_of_go() {
        for (code, want) in [
            (2, "no such file or directory"),
            (13, "permission denied"),
            (21, "is a directory"),
        ] {
            assert_eq!(io_message(&io::Error::from_raw_os_error(code)), want);
        }
    }
}
