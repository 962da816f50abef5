use std::sync::Arc;
use std::time::Duration;

use corefile::{Dispenser, Error, duration, number};

use super::{Cache, Plug, dump};
use crate::plugin::{Block, BuildError, Builder, Parsed, Spec};
use crate::wire::NameBuf;
use crate::zones::{Zones, is_reverse};

/// What the user wrote.
#[derive(Clone, Debug)]
pub(super) struct CacheSpec {
    pub(super) zones: Zones,
    pub(super) success: Limits,
    pub(super) denial: Limits,
    /// How long failures are kept.
    pub(super) servfail: Duration,
    pub(super) prefetch: Prefetch,
    pub(super) stale: Stale,
    pub(super) prefer_positive: bool,
    pub(super) keep_ttl: bool,
    /// The clusters' zones in which a denial covers what is beneath it;
    /// `None`: as the process has it by default.
    pub(super) cut: Option<Vec<NameBuf>>,
}

/// The bounds of one of the two caches.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) capacity: i64,
    pub(super) max: Duration,
    pub(super) min: Duration,
    /// Zones that are not kept.
    pub(super) except: Zones,
}

#[derive(Clone, Debug)]
pub(super) struct Prefetch {
    /// Hits that it takes; 0 is never.
    pub(super) amount: u64,
    pub(super) within: Duration,
    pub(super) percentage: u32,
}

/// `serve_stale`; all zeros without it.
#[derive(Clone, Debug, Default)]
pub(super) struct Stale {
    pub(super) up_to: Duration,
    /// Ask first, and wait that long; zero is until there is a reply.
    pub(super) verify: Option<Duration>,
    /// Of stale answers, in seconds.
    pub(super) ttl: u32,
    pub(super) recheck: Duration,
}

impl Stale {
    /// For how long after its end an item may be served, in seconds.
    pub(super) fn seconds(&self) -> i64 {
        i64::try_from(self.up_to.as_secs()).unwrap_or(i64::MAX)
    }
}

impl Limits {
    fn new(max: u64) -> Self {
        Self {
            capacity: 10_000,
            max: Duration::from_secs(max),
            min: Duration::from_secs(5),
            except: Zones::default(),
        }
    }
}

impl Default for CacheSpec {
    fn default() -> Self {
        Self {
            zones: Zones::root(),
            success: Limits::new(3600),
            denial: Limits::new(1800),
            servfail: Duration::from_secs(5),
            prefetch: Prefetch {
                amount: 0,
                within: Duration::from_secs(60),
                percentage: 10,
            },
            stale: Stale::default(),
            prefer_positive: false,
            keep_ttl: false,
            cut: None,
        }
    }
}

const PROPERTIES: &[&str] = &[
    "success",
    "denial",
    "prefetch",
    "serve_stale",
    "serve_stale_policy",
    "servfail",
    "disable",
    "keepttl",
    "cut",
];

pub(super) fn parse(directive: &corefile::Directive, block: &Block) -> Parsed {
    Ok(Box::new(CacheSpec::parse(directive, block)?))
}

impl CacheSpec {
    pub(super) fn parse(directive: &corefile::Directive, block: &Block) -> Result<Self, Error> {
        let mut words = directive.dispenser();
        let mut spec = Self::default();
        let mut seen = false;
        while words.next() {
            if std::mem::replace(&mut seen, true) {
                return Err(words.once_err());
            }
            spec.read_args(&mut words, block)?;
            let (mut stale, mut policy) = (false, false);
            while words.next_block() {
                stale |= words.val() == "serve_stale";
                if words.val() == "serve_stale_policy" && std::mem::replace(&mut policy, true) {
                    return Err(words.plain_err("serve_stale_policy can only be specified once"));
                }
                spec.read_property(&mut words, block)?;
            }
            if policy && !stale {
                return Err(words.plain_err("serve_stale_policy requires serve_stale"));
            }
        }
        Ok(spec)
    }

    fn read_args(&mut self, words: &mut Dispenser<'_>, block: &Block) -> Result<(), Error> {
        let args = words.remaining_args();
        let mut zones = args.as_slice();
        if let [first, rest @ ..] = zones
            && let Ok(ttl) = number::atoi(first)
        {
            let ttl = max_ttl(words, ttl)?;
            (self.success.max, self.denial.max) = (ttl, ttl);
            zones = rest;
        }
        self.zones = Zones::from_args(zones, block);
        Ok(())
    }

    fn read_property(&mut self, words: &mut Dispenser<'_>, block: &Block) -> Result<(), Error> {
        match words.val() {
            "success" => self.success.read(words),
            "denial" => self.denial.read(words),
            "prefetch" => self.prefetch.read(words),
            "serve_stale" => {
                self.stale = Stale::read(words)?;
                Ok(())
            }
            "serve_stale_policy" => {
                let [policy] = words.remaining_args()[..] else {
                    return Err(words.arg_err());
                };
                if policy.to_lowercase() != "prefer_positive" {
                    let error = words.plain_err(format!("invalid serve_stale_policy: {policy}"));
                    return Err(error.suggest(&["prefer_positive"]));
                }
                self.prefer_positive = true;
                Ok(())
            }
            "servfail" => self.read_servfail(words),
            "disable" => self.read_disable(words),
            "keepttl" => {
                if !words.remaining_args().is_empty() {
                    return Err(words.arg_err());
                }
                self.keep_ttl = true;
                Ok(())
            }
            "cut" => self.read_cut(words, block),
            _ => Err(words.arg_err().suggest(PROPERTIES)),
        }
    }

    fn read_cut(&mut self, words: &mut Dispenser<'_>, block: &Block) -> Result<(), Error> {
        let zones = match &words.remaining_args()[..] {
            ["off"] => {
                self.cut = Some(Vec::new());
                return Ok(());
            }
            [] => self.cluster_zones(),
            zones => clusters(&Zones::from_args(zones, block)),
        };
        if zones.is_empty() {
            let error = words.plain_err("cut needs the zone of a cluster");
            return Err(error.help("cut cluster.local: neither the root nor a reverse zone is one"));
        }
        self.cut = Some(zones);
        Ok(())
    }

    /// Those of its zones that may be a cluster's.
    fn cluster_zones(&self) -> Vec<NameBuf> {
        clusters(&self.zones)
    }

    fn read_servfail(&mut self, words: &mut Dispenser<'_>) -> Result<(), Error> {
        let [time] = words.remaining_args()[..] else {
            return Err(words.arg_err());
        };
        let time = read_duration(words, time)?.to_std();
        let time = time.ok_or_else(|| words.plain_err("invalid negative ttl for servfail"))?;
        if time > Duration::from_secs(300) {
            // RFC 2308 section 7.1.
            let error = "caching SERVFAIL responses over 5 minutes is not permitted";
            return Err(words.plain_err(error));
        }
        self.servfail = time;
        Ok(())
    }

    fn read_disable(&mut self, words: &mut Dispenser<'_>) -> Result<(), Error> {
        let args = words.remaining_args();
        let zones = match &args[..] {
            [] => return Err(words.arg_err()),
            [_] => Zones::root(),
            [_, zones @ ..] => zones
                .iter()
                .filter_map(|zone| corefile::key::normalize(zone).parse::<NameBuf>().ok())
                .collect(),
        };
        match args.first() {
            Some(&"success") => self.success.except = zones,
            Some(&"denial") => self.denial.except = zones,
            _ => {
                let error = "cache type for disable must be \"success\" or \"denial\"";
                return Err(words.plain_err(error));
            }
        }
        Ok(())
    }
}

fn clusters(zones: &Zones) -> Vec<NameBuf> {
    let may_be = |zone: &&NameBuf| !zone.name().is_root() && !is_reverse(zone.name());
    zones.iter().filter(may_be).cloned().collect()
}

impl Limits {
    fn read(&mut self, words: &mut Dispenser<'_>) -> Result<(), Error> {
        let args = words.remaining_args();
        let [capacity, rest @ ..] = &args[..] else {
            return Err(words.arg_err());
        };
        self.capacity = read_number(words, capacity)?;
        let [max, rest @ ..] = rest else {
            return Ok(());
        };
        self.max = max_ttl(words, read_number(words, max)?)?;
        let [min, ..] = rest else { return Ok(()) };
        let min = read_number(words, min)?;
        let seconds = u64::try_from(min);
        let negative = |_| words.plain_err(format!("cache min TTL can not be negative: {min}"));
        self.min = Duration::from_secs(seconds.map_err(negative)?);
        Ok(())
    }
}

impl Prefetch {
    fn read(&mut self, words: &mut Dispenser<'_>) -> Result<(), Error> {
        let args = words.remaining_args();
        let (amount, within, percentage) = match args[..] {
            [amount] => (amount, None, None),
            [amount, within] => (amount, Some(within), None),
            [amount, within, percentage] => (amount, Some(within), Some(percentage)),
            _ => return Err(words.arg_err()),
        };
        let amount = read_number(words, amount)?;
        let negative = |_| words.plain_err(format!("prefetch amount should be positive: {amount}"));
        self.amount = u64::try_from(amount).map_err(negative)?;
        if let Some(within) = within {
            // A negative time is accepted: no two hits are near enough then.
            self.within = read_duration(words, within)?.to_std().unwrap_or_default();
        }
        if let Some(percentage) = percentage {
            self.percentage = read_percentage(words, percentage)?;
        }
        Ok(())
    }
}

impl Stale {
    fn read(words: &mut Dispenser<'_>) -> Result<Self, Error> {
        let args = words.remaining_args();
        if args.len() > 5 {
            return Err(words.arg_err());
        }
        let mut stale = Self {
            up_to: Duration::from_secs(3600),
            ..Self::default()
        };
        let mut args = args.into_iter();
        let Some(up_to) = args.next() else {
            return Ok(stale);
        };
        let negative = || words.plain_err("invalid negative duration for serve_stale");
        stale.up_to = read_duration(words, up_to)?.to_std().ok_or_else(negative)?;
        let Some(mode) = args.next() else {
            return Ok(stale);
        };
        match mode.to_lowercase().as_str() {
            "immediate" if args.len() > 2 => return Err(words.arg_err()),
            "immediate" => {}
            "verify" => {
                stale.verify = Some(match args.next() {
                    None => Duration::ZERO,
                    Some(timeout) => read_stale(words, timeout, VERIFY_TIMEOUT)?,
                });
            }
            mode => {
                let error = format!("invalid value for serve_stale refresh mode: {mode}");
                return Err(words.plain_err(error).suggest(&["immediate", "verify"]));
            }
        }
        if let Some(ttl) = args.next() {
            stale.ttl = read_stale_ttl(words, ttl)?;
        }
        if let Some(recheck) = args.next() {
            stale.recheck = read_stale(words, recheck, RECHECK)?;
            if stale.recheck > Duration::from_secs(300) {
                let error = "serve_stale failure recheck cannot exceed 5 minutes";
                return Err(words.plain_err(error));
            }
        }
        Ok(stale)
    }
}

/// What is said of a time that is none, and of a negative one.
type Complaints = [&'static str; 2];

const VERIFY_TIMEOUT: Complaints = [
    "invalid serve_stale verify timeout",
    "invalid negative timeout for serve_stale verify",
];
const RESPONSE_TTL: Complaints = [
    "invalid serve_stale response TTL",
    "invalid negative response TTL for serve_stale",
];
const RECHECK: Complaints = [
    "invalid serve_stale failure recheck",
    "invalid negative failure recheck for serve_stale",
];

fn read_stale(
    words: &Dispenser<'_>,
    text: &str,
    [invalid, negative]: Complaints,
) -> Result<Duration, Error> {
    let time = duration::parse(text);
    let time = time.map_err(|error| words.plain_err(format!("{invalid}: {error}")))?;
    time.to_std().ok_or_else(|| words.plain_err(negative))
}

fn read_stale_ttl(words: &Dispenser<'_>, text: &str) -> Result<u32, Error> {
    let ttl = read_stale(words, text, RESPONSE_TTL)?;
    if ttl.subsec_nanos() != 0 {
        let error = "serve_stale response TTL must be a whole number of seconds";
        return Err(words.plain_err(error));
    }
    let too_long = |_| words.plain_err("serve_stale response TTL exceeds the DNS TTL range");
    u32::try_from(ttl.as_secs()).map_err(too_long)
}

fn max_ttl(words: &Dispenser<'_>, seconds: i64) -> Result<Duration, Error> {
    match u64::try_from(seconds) {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err(words.plain_err(format!("cache TTL can not be zero or negative: {seconds}"))),
    }
}

fn read_percentage(words: &Dispenser<'_>, text: &str) -> Result<u32, Error> {
    let Some(number) = text.strip_suffix('%') else {
        // The last octet, as Go quotes it.
        let last = text
            .bytes()
            .last()
            .map(|octet| char::from(octet).escape_default());
        let last = last.map_or_else(String::new, |last| last.to_string());
        return Err(words.plain_err(format!(
            "last character of percentage should be `%`, but is: '{last}'"
        )));
    };
    match read_number(words, number)? {
        percentage @ 10..=90 => Ok(percentage as u32),
        other => Err(words.plain_err(format!("percentage should fall in range [10, 90]: {other}"))),
    }
}

fn read_number(words: &Dispenser<'_>, text: &str) -> Result<i64, Error> {
    number::atoi(text).map_err(|error| words.plain_err(error.to_string()))
}

fn read_duration(words: &Dispenser<'_>, text: &str) -> Result<duration::Duration, Error> {
    duration::parse(text).map_err(|error| words.plain_err(error.to_string()))
}

impl Spec for CacheSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let mut spec = self;
        if spec.cut.is_none() && builder.settings.cut {
            spec.cut = Some(spec.cluster_zones());
        }
        let cache = Arc::new(Cache::new(*spec));
        dump::attach(&cache, builder);
        builder.push(Arc::new(Plug(cache.clone())));
        builder.when_assembled(move |block| cache.assembled(block.chain));
        Ok(())
    }
}
