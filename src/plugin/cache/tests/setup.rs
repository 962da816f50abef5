use super::*;

const WRONG: &str = "Error during parsing: Wrong argument count or unexpected line ending after";

#[test]
fn setups_are_accepted() {
    for text in [
        "",
        "example.nl",
        "10",
        "10 example.nl 10.0.0.0/8",
        "-",
        "{\n}",
        "{\nsuccess 10\n}",
        "{\nsuccess 10 1800\n}",
        "{\nsuccess 10 1800 30\n}",
        "{\nsuccess 10 1800 30 more\n}",
        "{\nsuccess -1 1 0\ndenial 10 1800 30\n}",
        "{\nprefetch 10\n}",
        "{\nprefetch 0\n}",
        "{\nprefetch 10 1m\n}",
        "{\nprefetch 10 1m 10%\n}",
        "{\nprefetch 10 -1m 90%\n}",
        "{\nserve_stale\n}",
        "{\nserve_stale 20m\n}",
        "{\nserve_stale 0s\n}",
        "{\nserve_stale 1h20m immediate\n}",
        "{\nserve_stale 1h20m IMMEDIATE 30s 5m\n}",
        "{\nserve_stale 1h verify\n}",
        "{\nserve_stale 1h verify 100ms\n}",
        "{\nserve_stale 1h verify 0s 30s 10s\n}",
        "{\nserve_stale\nserve_stale_policy prefer_positive\n}",
        "{\nserve_stale_policy Prefer_Positive\nserve_stale\n}",
        "{\nservfail 0\n}",
        "{\nservfail 5m\n}",
        "{\ndisable success\n}",
        "{\ndisable denial example.com example.org\n}",
        "{\nkeepttl\n}",
    ] {
        assert_eq!(refusal(&DEFINITION, &format!("cache {text}")), "", "{text}");
    }
}

#[test]
fn setups_are_refused_as_coredns_refuses_them() {
    let syntax = "strconv.Atoi: parsing \"aaa\": invalid syntax";
    for (text, error) in [
        ("0", "cache TTL can not be zero or negative: 0"),
        ("-1", "cache TTL can not be zero or negative: -1"),
        ("{\nsuccess\n}", &format!("Corefile:2 - {WRONG} 'success'")),
        ("{\nsuccess aaa\n}", syntax),
        ("{\nsuccess 10 aaa\n}", syntax),
        (
            "{\nsuccess 10 0\n}",
            "cache TTL can not be zero or negative: 0",
        ),
        (
            "{\nsuccess 10 -1\n}",
            "cache TTL can not be zero or negative: -1",
        ),
        ("{\nsuccess 10 10 aaa\n}", syntax),
        (
            "{\nsuccess 10 10 -1\n}",
            "cache min TTL can not be negative: -1",
        ),
        ("{\ndenial\n}", &format!("Corefile:2 - {WRONG} 'denial'")),
        (
            "{\ndenial 10 0\n}",
            "cache TTL can not be zero or negative: 0",
        ),
        (
            "{\ndenial 10 10 -9\n}",
            "cache min TTL can not be negative: -9",
        ),
        (
            "{\nprefetch\n}",
            &format!("Corefile:2 - {WRONG} 'prefetch'"),
        ),
        (
            "{\nprefetch 1 1m 10% x\n}",
            &format!("Corefile:2 - {WRONG} 'x'"),
        ),
        (
            "{\nprefetch -1\n}",
            "prefetch amount should be positive: -1",
        ),
        ("{\nprefetch aaa\n}", syntax),
        ("{\nprefetch 1 1\n}", "time: missing unit in duration \"1\""),
        (
            "{\nprefetch 1 1m 10\n}",
            "last character of percentage should be `%`, but is: '0'",
        ),
        (
            "{\nprefetch 1 1m %10\n}",
            "last character of percentage should be `%`, but is: '0'",
        ),
        ("{\nprefetch 1 1m aaa%\n}", syntax),
        (
            "{\nprefetch 1 1m 9%\n}",
            "percentage should fall in range [10, 90]: 9",
        ),
        (
            "{\nprefetch 1 1m 91%\n}",
            "percentage should fall in range [10, 90]: 91",
        ),
        (
            "{\nserve_stale 20\n}",
            "time: missing unit in duration \"20\"",
        ),
        (
            "{\nserve_stale -20m\n}",
            "invalid negative duration for serve_stale",
        ),
        ("{\nserve_stale aa\n}", "time: invalid duration \"aa\""),
        (
            "{\nserve_stale 1h Unknown\n}",
            "invalid value for serve_stale refresh mode: unknown",
        ),
        (
            "{\nserve_stale 1h verify x\n}",
            "invalid serve_stale verify timeout: time: invalid duration \"x\"",
        ),
        (
            "{\nserve_stale 1h verify -1s\n}",
            "invalid negative timeout for serve_stale verify",
        ),
        (
            "{\nserve_stale 1h verify 1s 30\n}",
            "invalid serve_stale response TTL: time: missing unit in duration \"30\"",
        ),
        (
            "{\nserve_stale 1h immediate -1s\n}",
            "invalid negative response TTL for serve_stale",
        ),
        (
            "{\nserve_stale 1h immediate 500ms\n}",
            "serve_stale response TTL must be a whole number of seconds",
        ),
        (
            "{\nserve_stale 1h immediate 4294967296s\n}",
            "serve_stale response TTL exceeds the DNS TTL range",
        ),
        (
            "{\nserve_stale 1h immediate 30s x\n}",
            "invalid serve_stale failure recheck: time: invalid duration \"x\"",
        ),
        (
            "{\nserve_stale 1h immediate 30s -1s\n}",
            "invalid negative failure recheck for serve_stale",
        ),
        (
            "{\nserve_stale 1h immediate 30s 5m1s\n}",
            "serve_stale failure recheck cannot exceed 5 minutes",
        ),
        (
            "{\nserve_stale 1h immediate 30s 1s 1s\n}",
            &format!("Corefile:2 - {WRONG} '1s'"),
        ),
        (
            "{\nserve_stale 1h verify 1s 30s 1s x\n}",
            &format!("Corefile:2 - {WRONG} 'x'"),
        ),
        (
            "{\nserve_stale_policy prefer_positive\n}",
            "serve_stale_policy requires serve_stale",
        ),
        (
            "{\nserve_stale\nserve_stale_policy\n}",
            &format!("Corefile:3 - {WRONG} 'serve_stale_policy'"),
        ),
        (
            "{\nserve_stale\nserve_stale_policy Other\n}",
            "invalid serve_stale_policy: Other",
        ),
        (
            "{\nserve_stale\nserve_stale_policy prefer_positive\nserve_stale_policy prefer_positive\n}",
            "serve_stale_policy can only be specified once",
        ),
        (
            "{\nservfail\n}",
            &format!("Corefile:2 - {WRONG} 'servfail'"),
        ),
        ("{\nservfail 1\n}", "time: missing unit in duration \"1\""),
        ("{\nservfail -1s\n}", "invalid negative ttl for servfail"),
        (
            "{\nservfail 6m\n}",
            "caching SERVFAIL responses over 5 minutes is not permitted",
        ),
        ("{\ndisable\n}", &format!("Corefile:2 - {WRONG} 'disable'")),
        (
            "{\ndisable invalid\n}",
            "cache type for disable must be \"success\" or \"denial\"",
        ),
        ("{\nkeepttl 1\n}", &format!("Corefile:2 - {WRONG} '1'")),
        ("{\nsucces 10\n}", &format!("Corefile:2 - {WRONG} 'succes'")),
        (
            "\ncache",
            "this plugin can only be used once per Server Block",
        ),
    ] {
        assert_eq!(
            refusal(&DEFINITION, &format!("cache {text}")),
            error,
            "{text}"
        );
    }
}

#[test]
fn defaults_and_arguments_come_to_what_is_meant() {
    let parse = |text: &str| {
        let directive = corefile::Directive::new("Corefile", text);
        CacheSpec::parse(&directive, &testing::block()).unwrap()
    };
    let spec = parse("cache");
    assert_eq!(spec.zones.to_string(), ".");
    assert_eq!(
        (spec.success.capacity, spec.denial.capacity),
        (10_000, 10_000)
    );
    assert_eq!(
        (spec.success.max.as_secs(), spec.denial.max.as_secs()),
        (3600, 1800)
    );
    let spec = parse("cache 30 Example.org {\ndenial 5 7 0\nserve_stale 1h verify\n}");
    assert_eq!(spec.zones.to_string(), "example.org.");
    assert_eq!(
        (spec.success.max.as_secs(), spec.denial.max.as_secs()),
        (30, 7)
    );
    assert_eq!(
        (spec.success.min.as_secs(), spec.denial.min.as_secs()),
        (5, 0)
    );
    assert_eq!(spec.stale.verify, Some(Duration::ZERO));
}
