//! The weight file: a domain on a line, then a line `ADDRESS WEIGHT` for each address.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use super::address;
use crate::plugin::{BuildError, Builder};
use crate::wire::{NameBuf, RecordView};

const TARGET: &str = "plugin/loadbalance";

/// The weights of a file, as it was last read.
pub(super) struct Weights {
    file: PathBuf,
    table: ArcSwap<Table>,
    /// Tells the file's contents apart; 0 before it was read.
    seen: AtomicU64,
}

/// Weights by domain and address.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Table(HashMap<NameBuf, Vec<(IpAddr, u8)>>);

impl Table {
    /// The weight of an address record; 1 where the file says nothing. Letter
    /// case matters, as in CoreDNS.
    pub(super) fn weight(&self, view: &RecordView<'_>) -> u8 {
        if self.0.is_empty() {
            return 1;
        }
        let weights = view.owner().ok().and_then(|owner| self.0.get(&owner));
        let address = address(view);
        let weights = weights.into_iter().flatten();
        let mut weights = weights.filter(|(of, _)| Some(*of) == address);
        weights.next().map_or(1, |(_, weight)| *weight)
    }
}

/// Why a weight file was not taken over, in CoreDNS's words.
#[derive(Debug, thiserror::Error)]
enum WeightError {
    #[error("weight file open error")]
    Open,
    #[error("read {0}: {1}")]
    Read(String, String),
    #[error("wrong domain name:\"{0}\" in weight file {1}. (Maybe a missing weight value?)")]
    Domain(String, String),
    #[error("wrong IP address:\"{0}\" in weight file {1}")]
    Address(String, String),
    #[error("wrong weight value:\"{0}\" in weight file {1}")]
    Weight(String, String),
    #[error("missing domain name in weight file {0}")]
    NoDomain(String),
    #[error("could not parse weight line:\"{0}\" in weight file {1}")]
    Line(String, String),
}

impl Weights {
    pub(super) fn new(file: PathBuf) -> Self {
        Self {
            file,
            table: ArcSwap::default(),
            seen: AtomicU64::new(0),
        }
    }

    pub(super) fn load(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// Reads the file when the server starts and again every `reload`.
    pub(super) fn follow(self: Arc<Self>, reload: Duration, builder: &mut Builder<'_>) {
        let this = self.clone();
        builder.on_startup(move || {
            Box::pin(std::future::ready(match this.update() {
                Err(error @ WeightError::Open) if !reload.is_zero() => {
                    tracing::warn!(
                        target: TARGET,
                        "Failed to open weight file:{error}. Will try again in {}",
                        corefile::duration::Duration::from_nanos(
                            i64::try_from(reload.as_nanos()).unwrap_or(i64::MAX)
                        ),
                    );
                    Ok(())
                }
                other => other.map_err(|error| BuildError::new(format!("{TARGET}: {error}"))),
            }))
        });
        if reload.is_zero() {
            return;
        }
        // The file is read at startup.
        builder.repeat(reload, move || {
            if let Err(error) = self.update() {
                tracing::error!(target: TARGET, "{error}");
            }
        });
    }

    fn update(&self) -> Result<(), WeightError> {
        let file = self.file.display().to_string();
        let octets = std::fs::read(&self.file).map_err(|error| match error.kind() {
            std::io::ErrorKind::IsADirectory => {
                WeightError::Read(file.clone(), corefile::io_message(&error))
            }
            _ => WeightError::Open,
        })?;
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&octets) | 1;
        // What cannot be parsed is not tried again until it changes, as in CoreDNS.
        if self.seen.swap(hash, Ordering::Relaxed) == hash {
            return Ok(());
        }
        let table = parse(&String::from_utf8_lossy(&octets), &file)?;
        self.table.store(Arc::new(table));
        tracing::info!(target: TARGET, "Successfully reloaded weight file {file}");
        Ok(())
    }
}

fn parse(text: &str, file: &str) -> Result<Table, WeightError> {
    let mut domains: HashMap<NameBuf, Vec<(IpAddr, u8)>> = HashMap::new();
    let mut domain: Option<NameBuf> = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields[..] {
            [name] if name.parse::<IpAddr>().is_ok() => {
                return Err(WeightError::Domain(name.into(), file.into()));
            }
            [name] => {
                // A name that cannot be one is in no reply.
                let name: NameBuf = name.parse().unwrap_or_default();
                domains.entry(name.clone()).or_default();
                domain = Some(name);
            }
            [address, weight] => {
                let wrong = || WeightError::Address(address.into(), file.into());
                let address: IpAddr = address.parse().map_err(|_| wrong())?;
                let wrong = || WeightError::Weight(weight.into(), file.into());
                let weight = corefile::number::parse_uint(weight, 8).unwrap_or(0);
                let weight = u8::try_from(weight).ok().filter(|weight| *weight > 0);
                let weight = weight.ok_or_else(wrong)?;
                let Some(weights) = domain.as_ref().and_then(|name| domains.get_mut(name)) else {
                    return Err(WeightError::NoDomain(file.into()));
                };
                weights.push((address.to_canonical(), weight));
            }
            _ => return Err(WeightError::Line(line.into(), file.into())),
        }
    }
    Ok(Table(domains))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_coredns_reads_them() {
        for (text, result) in [
            ("", Ok(0)),
            ("# nothing\n\n", Ok(0)),
            ("w1.example.org\n192.168.1.15 10\n192.168.1.14 20\n", Ok(1)),
            (
                "w1,example.org\n192.168.1.15 10\n\n#x\nw2.example.org.\n2001:db8::1 255",
                Ok(2),
            ),
            ("a.org\n192.0.2.1 1\nb.org\na.org\n192.0.2.2 2", Ok(2)),
            (
                "a.org\n192.0.2.1",
                Err(
                    "wrong domain name:\"192.0.2.1\" in weight file F. (Maybe a missing weight value?)",
                ),
            ),
            (
                "a.org\n192.0.2 1",
                Err("wrong IP address:\"192.0.2\" in weight file F"),
            ),
            (
                "a.org\n192.0.2.1 0",
                Err("wrong weight value:\"0\" in weight file F"),
            ),
            (
                "a.org\n192.0.2.1 256",
                Err("wrong weight value:\"256\" in weight file F"),
            ),
            (
                "a.org\n192.0.2.1 -1",
                Err("wrong weight value:\"-1\" in weight file F"),
            ),
            ("192.0.2.1 10", Err("missing domain name in weight file F")),
            (
                "a.org\n192.0.2.1 10 x",
                Err("could not parse weight line:\"192.0.2.1 10 x\" in weight file F"),
            ),
        ] {
            let found = parse(text, "F").map(|table| table.0.len());
            let found = found.map_err(|error| error.to_string());
            assert_eq!(found, result.map_err(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn a_changed_file_is_taken_over() {
        let folder = std::env::temp_dir().join(format!("pando-weights-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let weights = Weights::new(folder.join("weights"));
        assert!(matches!(weights.update(), Err(WeightError::Open)));
        std::fs::write(&weights.file, "a.org\n192.0.2.1 10").unwrap();
        weights.update().unwrap();
        let first = weights.table.load_full();
        assert_eq!(first.0.len(), 1);
        weights.update().unwrap();
        assert!(Arc::ptr_eq(&first, &weights.table.load()), "unchanged");
        std::fs::write(&weights.file, "192.0.2.1 10").unwrap();
        assert!(weights.update().is_err());
        assert!(
            Arc::ptr_eq(&first, &weights.table.load()),
            "the last good one stays"
        );
        std::fs::write(&weights.file, "a.org\nb.org").unwrap();
        weights.update().unwrap();
        assert_eq!(weights.table.load().0.len(), 2);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
