//! `reload`: looks at the Corefile now and then, and serves it anew when it
//! has changed.
//!
//! ```text
//! reload [INTERVAL] [JITTER]
//! ```
//!
//! INTERVAL defaults to 30s and is 2s at least. JITTER defaults to 15s and is
//! 0 or 1s at least, and never more than half of INTERVAL; a random part of
//! it, chosen once, moves the interval by up to half of it either way, so
//! that the servers of a cluster don't reload together. The last block that
//! has the directive decides for the process.

use std::time::Duration;

use corefile::{Directive, Dispenser, duration};

use super::{Block, BuildError, Builder, Definition, Parsed, Spec};

pub(super) static DEFINITION: Definition = Definition {
    name: "reload",
    parse,
};

const INTERVAL: Duration = Duration::from_secs(30);
const JITTER: Duration = Duration::from_secs(15);
const MIN_INTERVAL: Duration = Duration::from_secs(2);
const MIN_JITTER: Duration = Duration::from_secs(1);

#[derive(Debug, Eq, PartialEq)]
struct ReloadSpec {
    interval: Duration,
    jitter: Duration,
}

fn parse(directive: &Directive, _: &Block) -> Parsed {
    Ok(Box::new(read(directive)?))
}

fn read(directive: &Directive) -> Result<ReloadSpec, corefile::Error> {
    let mut words = directive.dispenser();
    words.next();
    let args = words.remaining_args();
    if args.len() > 2 {
        return Err(words.arg_err());
    }
    let mut args = args.into_iter();
    let interval = take(&words, args.next(), INTERVAL)?;
    let Some(interval) = interval.filter(|interval| *interval >= MIN_INTERVAL) else {
        let message = "interval value must be greater or equal to 2s";
        return Err(words.plain_err(message));
    };
    let jitter = take(&words, args.next(), JITTER)?;
    let Some(jitter) = jitter.filter(|jitter| jitter.is_zero() || *jitter >= MIN_JITTER) else {
        let message = "jitter value must be 0 or greater or equal to 1s";
        return Err(words.plain_err(message));
    };
    Ok(ReloadSpec {
        interval,
        jitter: jitter.min(interval / 2),
    })
}

/// `None` is less than nothing.
fn take(
    words: &Dispenser<'_>,
    arg: Option<&str>,
    default: Duration,
) -> Result<Option<Duration>, corefile::Error> {
    let Some(arg) = arg else {
        return Ok(Some(default));
    };
    let parsed = duration::parse(arg).map_err(|error| words.plain_err(error.to_string()))?;
    Ok(parsed.to_std())
}

impl Spec for ReloadSpec {
    fn build(self: Box<Self>, builder: &mut Builder<'_>) -> Result<(), BuildError> {
        let shift = self.jitter.mul_f64(fastrand::f64());
        let interval = self.interval + shift;
        builder.settings.reload = Some(interval.saturating_sub(self.jitter / 2));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setups_are_accepted_and_refused_as_coredns_does() {
        let seconds = |interval, jitter| {
            Ok(ReloadSpec {
                interval: Duration::from_secs_f64(interval),
                jitter: Duration::from_secs_f64(jitter),
            })
        };
        let small = "interval value must be greater or equal to 2s";
        let jitter = "jitter value must be 0 or greater or equal to 1s";
        for (text, spec) in [
            ("reload", seconds(30.0, 15.0)),
            ("reload 10s", seconds(10.0, 5.0)),
            ("reload 10s 2s", seconds(10.0, 2.0)),
            ("reload 2s", seconds(2.0, 1.0)),
            ("reload 2s 0s", seconds(2.0, 0.0)),
            ("reload 10s 8s", seconds(10.0, 5.0)),
            ("reload 1m 1s", seconds(60.0, 1.0)),
            ("reload 1s", Err(small)),
            ("reload -10s", Err(small)),
            ("reload 10s 500ms", Err(jitter)),
            ("reload 10s -2s", Err(jitter)),
            ("reload 10", Err("time: missing unit in duration \"10\"")),
            (
                "reload 10s 13",
                Err("time: missing unit in duration \"13\""),
            ),
            ("reload maybe", Err("time: invalid duration \"maybe\"")),
            (
                "reload 10s 2s 1s",
                Err(
                    "Testfile:1 - Error during parsing: Wrong argument count or unexpected line ending after '1s'",
                ),
            ),
        ] {
            let found = read(&Directive::new("Testfile", text));
            let found = found.map_err(|error| error.first_line().to_owned());
            assert_eq!(
                found.as_ref().map_err(String::as_str),
                spec.as_ref().map_err(|error| *error),
                "{text}"
            );
        }
    }
}
