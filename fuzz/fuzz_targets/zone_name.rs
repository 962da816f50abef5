//! A zone argument: what comes out is in normal form.
#![no_main]

use corefile::key;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for zone in key::normalize_exact(text) {
        assert!(zone.ends_with('.'));
        // What comes after an escape is not looked at.
        if !text.contains('\\') {
            assert!(key::is_domain_name(&zone));
            assert_eq!(key::normalize(&zone), zone);
        }
    }
});
