//! What the caches of a configuration know, in a file: a process begins with
//! it where another one ends.
//!
//! Numbers are in network order. A dump is [`MAGIC`] and the time, in
//! milliseconds since 1970; then for each cache what tells it from others,
//! and its entries, both behind their length in 32 bits. An entry is
//!
//! | octets | |
//! |---|---|
//! | 1 | which of DO (1) and CD (2) the client had set; whether there is an extended error (4) |
//! | 4 | the TTL, seconds |
//! | 8 | its age, milliseconds |
//! | 2 | the response code, extended bits included |
//! | 2 + 2 + n | code and text of the extended error |
//! | 2 + n | the wildcard that the answer was made from; empty for none |
//! | 2 + n | the reply as a DNS message without OPT |
//!
//! What cannot be read is left out: a cache that is cold is not broken.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::Cache;
use super::answers::answers_question;
use super::item::{Item, Terms};
use super::keep::Verdict;
use crate::clock::{self, Tick};
use crate::plugin::{Builder, Kept};
use crate::wire::{Ede, Edns, Error, HEADER_LEN, Name, Rcode, Reader, Reply, Request, flags};

const TARGET: &str = "plugin/cache";
/// The kind of file and its version.
const MAGIC: &[u8] = b"pando cache 1\n";
/// What [`Kept`] has the caches of a configuration by, and what they begin with.
const CACHES: &str = "caches";
const WARM: &str = "warm caches";

const DNSSEC_OK: u8 = 1;
const CHECKING_DISABLED: u8 = 2;
const WITH_EDE: u8 = 4;

/// The caches of a configuration, by what tells one from another.
#[derive(Default)]
struct Caches(Mutex<Vec<(String, Arc<Cache>)>>);

/// A dump that was read: the entries of each cache, and when it was made.
pub(super) struct Warm {
    taken: SystemTime,
    pub(super) caches: HashMap<String, Vec<u8>>,
}

/// Writes what the caches of a configuration know to the beginning of a file,
/// in the place of whatever was there: how many entries.
///
/// # Errors
///
/// The file's.
pub fn dump_caches(kept: &Kept, mut file: &File) -> io::Result<usize> {
    file.set_len(0)?;
    file.rewind()?;
    let caches = kept.find::<Caches>(CACHES).unwrap_or_default();
    let caches = caches.0.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = BufWriter::new(file);
    let count = write(&caches, &mut out, clock::refresh(), SystemTime::now())?;
    out.flush()?;
    Ok(count)
}

/// Has the caches of the first configuration begin with what a file says.
pub fn warm_caches(kept: &mut Kept, mut file: &File) {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    let read = read.map_err(|error| error.to_string());
    match read.and_then(|_| Warm::read(&bytes).map_err(|error| error.to_string())) {
        Ok(warm) => kept.offer(WARM, Arc::new(warm)),
        Err(error) => warn!(target: TARGET, "Caches begin empty, their dump is no good: {error}"),
    }
}

/// Makes a cache known to [`dump_caches`], and fills it from the dump that this
/// process began with, if it began just now.
pub(super) fn attach(cache: &Arc<Cache>, builder: &mut Builder<'_>) {
    let keys = builder.block.keys.iter().map(ToString::to_string);
    let hosts = builder.settings.hosts.iter().cloned();
    let words: Vec<String> = keys.chain(hosts).collect();
    let name = format!("{} | {}", words.join(" "), cache.spec.zones);
    if let Some(warm) = builder.kept.find::<Warm>(WARM)
        && let Some(entries) = warm.caches.get(&name)
    {
        let elapsed = warm.taken.elapsed().unwrap_or_default();
        let count = cache.load(entries, clock::refresh(), elapsed);
        info!(target: TARGET, "Begins with {count} entries of the process before");
    }
    let caches = builder.kept.share(CACHES, Caches::default);
    let mut caches = caches.0.lock().unwrap_or_else(PoisonError::into_inner);
    caches.push((name, cache.clone()));
}

pub(super) fn write(
    caches: &[(String, Arc<Cache>)],
    out: &mut impl Write,
    now: Tick,
    time: SystemTime,
) -> io::Result<usize> {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    out.write_all(MAGIC)?;
    out.write_all(&millis(since_1970.unwrap_or_default()).to_be_bytes())?;
    let mut count = 0;
    for (name, cache) in caches {
        let mut entries = Vec::new();
        let items = cache
            .store
            .success
            .items()
            .chain(cache.store.denial.items());
        for (key, item) in items {
            if let Some(entry) = cache.entry(key, &item, now) {
                entry.write(&mut entries);
                count += 1;
            }
        }
        for part in [name.as_bytes(), &entries] {
            let len = u32::try_from(part.len()).map_err(io::Error::other)?;
            out.write_all(&len.to_be_bytes())?;
            out.write_all(part)?;
        }
    }
    Ok(count)
}

impl Warm {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len(), "kind")? != MAGIC {
            return Err(Error::BadData("kind of file"));
        }
        let mut caches = HashMap::new();
        let since_1970 = Duration::from_millis(u64_of(&mut reader)?);
        let taken = SystemTime::UNIX_EPOCH.checked_add(since_1970);
        while reader.any_left() {
            let mut part = || {
                let len = reader.u32("length")?;
                reader.take(usize::try_from(len).unwrap_or(usize::MAX), "cache")
            };
            let (name, entries) = (part()?, part()?);
            caches.insert(String::from_utf8_lossy(name).into_owned(), entries.to_vec());
        }
        Ok(Self {
            taken: taken.ok_or(Error::BadData("time"))?,
            caches,
        })
    }
}

/// An entry, as it is written.
struct Entry<'a> {
    kind: u8,
    ttl: u32,
    age: Duration,
    rcode: Rcode,
    ede: Option<Ede>,
    /// Empty where there is none.
    wildcard: Cow<'a, str>,
    message: Cow<'a, [u8]>,
}

impl<'a> Entry<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let kind = reader.u8("kind")?;
        let ttl = reader.u32("TTL")?;
        let age = Duration::from_millis(u64_of(reader)?);
        let rcode = Rcode(reader.u16("code")?);
        let ede = Ede {
            code: reader.u16("extended error")?,
            text: text(reader)?.into_owned().into(),
        };
        Ok(Self {
            kind,
            ttl,
            age,
            rcode,
            ede: (kind & WITH_EDE != 0).then_some(ede),
            wildcard: text(reader)?,
            message: counted(reader)?.into(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.kind);
        out.extend(self.ttl.to_be_bytes());
        out.extend(millis(self.age).to_be_bytes());
        out.extend(self.rcode.0.to_be_bytes());
        let ede = self.ede.as_ref();
        out.extend(ede.map_or(0, |ede| ede.code).to_be_bytes());
        let text = ede.map_or("", |ede| &*ede.text);
        for part in [text.as_bytes(), self.wildcard.as_bytes(), &self.message] {
            // A message has no more octets, a text of ours has far fewer.
            let part = part.get(..usize::from(u16::MAX)).unwrap_or(part);
            out.extend((part.len() as u16).to_be_bytes());
            out.extend(part);
        }
    }

    /// The query that it answers.
    fn request(&self) -> Result<Request, Error> {
        let mut question = Reader::at(&self.message, HEADER_LEN);
        let name = Name::read(&mut question)?;
        let asked = (question.u16("question")?, question.u16("question")?);
        Ok(request(name, asked, self.kind))
    }
}

impl Cache {
    /// An item as it is written; `None` where it is of no use.
    fn entry<'a>(&self, key: u64, item: &'a Item, now: Tick) -> Option<Entry<'a>> {
        let stored = item.stored();
        let asked = stored.asked()?;
        // A key is a hash: what the client had set is found by trying.
        let mut kinds = 0..=(DNSSEC_OK | CHECKING_DISABLED);
        let kind =
            kinds.find(|kind| self.asked(&request(stored.name(), asked, *kind)).key == key)?;
        let ede = stored.ede().cloned();
        Some(Entry {
            kind: kind | if ede.is_some() { WITH_EDE } else { 0 },
            ttl: item.ttl,
            age: item.age(now),
            rcode: stored.rcode(),
            ede,
            wildcard: item.wildcard().unwrap_or_default().into(),
            message: stored.message().into(),
        })
    }

    /// Takes in entries of a dump that was made `elapsed` ago: how many are of use.
    pub(super) fn load(&self, entries: &[u8], now: Tick, elapsed: Duration) -> usize {
        let mut reader = Reader::new(entries);
        let mut count = 0;
        while reader.any_left() {
            let loaded = Entry::read(&mut reader).map(|entry| self.take_in(&entry, now, elapsed));
            match loaded {
                Ok(used) => count += usize::from(used.is_some()),
                Err(error) => {
                    warn!(target: TARGET, "The dump of a cache ends in the middle: {error}");
                    break;
                }
            }
        }
        count
    }

    /// Keeps an entry as if its answer had come when it did, by the rules of
    /// this cache. `None` where it has expired or does not fit.
    fn take_in(&self, entry: &Entry<'_>, now: Tick, elapsed: Duration) -> Option<()> {
        let request = entry.request().ok()?;
        let mut reply = Reply::new();
        reply.adopt(&entry.message, &request).ok()?;
        reply.set_rcode(entry.rcode);
        if let Some(ede) = &entry.ede {
            reply.set_ede(ede.clone());
        }
        let answering = answers_question(&request, &reply);
        let verdict = Verdict::of(&request, &reply, answering);
        let limit = self.lifetime(verdict.kind, &reply).as_secs();
        let terms = Terms {
            class: verdict.class(),
            ttl: entry.ttl.min(u32::try_from(limit).unwrap_or(u32::MAX)),
            now: now.before(entry.age.saturating_add(elapsed))?,
            answering,
            wildcard: (!entry.wildcard.is_empty()).then(|| (*entry.wildcard).into()),
        };
        let item = Item::new(&reply, terms);
        let left = item.ttl_left(now);
        let wanted = left > 0 || -left < self.spec.stale.seconds();
        if !verdict.fit || !wanted || !self.spec.zones.contain(request.name()) {
            return None;
        }
        let key = self.asked(&request).key;
        self.store(&request, key, item, false).map(drop)
    }
}

/// A query as clients send it, as far as a cache tells them apart.
fn request(name: Name<'_>, (qtype, qclass): (u16, u16), kind: u8) -> Request {
    let mut request = Request::new();
    request.ask(0, name, qtype);
    request.set_qclass(qclass);
    request.set_flag(flags::CD, kind & CHECKING_DISABLED != 0);
    if kind & DNSSEC_OK != 0 {
        request.edns_or_insert(1232).flags = Edns::DO;
    }
    request
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn u64_of(reader: &mut Reader<'_>) -> Result<u64, Error> {
    let high = reader.u32("time")?;
    Ok(u64::from(high) << 32 | u64::from(reader.u32("time")?))
}

fn counted<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Error> {
    let len = reader.u16("length")?;
    reader.take(len.into(), "text or message")
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, Error> {
    counted(reader).map(String::from_utf8_lossy)
}
