//! Corefiles that are refused, with the first line of the error. `$DIR` is the
//! folder that the Corefile is in.

use super::case::Case;

pub(crate) const CASES: &[Case] = &[
    // Names of directives.
    Case::new(
        ". {\n  fowrard\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'fowrard'",
    ),
    Case::new(
        ". {\n  Cache\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'Cache'",
    ),
    Case::new(
        ". {\n  kuberntes\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'kuberntes'",
    ),
    Case::new(
        ". {\n  proxy\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'proxy'",
    ),
    Case::new(
        ". {\n  on_shutdown\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'on_shutdown'",
    ),
    Case::new(
        ". {\n  cache,\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'cache,'",
    ),
    Case::new(
        ". {\n  cache;\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'cache;'",
    ),
    Case::new(
        ". {\n  \"\"\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive ''",
    ),
    Case::new(
        ". {\n  \"cache \"\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'cache '",
    ),
    Case::new(
        ". {\n  cache{\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'cache{'",
    ),
    Case::new(
        ". {\n  #x\n  y\n}\n",
        "Corefile:3 - Error during parsing: Unknown directive 'y'",
    ),
    Case::new(
        ". {\n  (snip)\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive '(snip)'",
    ),
    Case::new(
        ". {\n  forward.\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'forward.'",
    ),
    Case::new(
        ". {\n  healt\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'healt'",
    ),
    Case::new(
        ". {\n  loadbalancer\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'loadbalancer'",
    ),
    Case::new(
        ". {\n  promtheus\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'promtheus'",
    ),
    Case::new(
        ". {\n  view_\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'view_'",
    ),
    Case::new(
        ". {\n  import2\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'import2'",
    ),
    Case::new(
        ". {\n  *\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive '*'",
    ),
    Case::new(
        ". {\n  .\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive '.'",
    ),
    Case::new(
        ". {\n  \\\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive '\\'",
    ),
    Case::new(
        ". {\n  é\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'é'",
    ),
    Case::new(
        ". {\n  {}\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive '{}'",
    ),
    Case::new(
        ". {\n  \"cache\n\"\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'cache\n'",
    ),
    Case::new(
        ". {\n  \"a\\\"b\"\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'a\"b'",
    ),
    Case::new(
        ". {\n  log:\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'log:'",
    ),
    Case::new(
        ". {\n  8.8.8.8\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive '8.8.8.8'",
    ),
    Case::new(
        ". {\n  http://x\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'http://x'",
    ),
    Case::new(
        ". {\n  IMPORT x\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'IMPORT'",
    ),
    Case::new(
        ". {\n  'cache'\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive ''cache''",
    ),
    Case::new(
        ". {\n  {$NAME}{\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive '{'",
    ),
    Case::new(
        ". {\n  {$NAME}\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'cahce'",
    )
    .env(&[("NAME", "cahce")]),
    Case::new(
        ". {\n  {%NAME%} 30\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'two words'",
    )
    .env(&[("NAME", "two words")]),
    Case::new(
        ". {\n  {$NOTSET} 30\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive ''",
    ),
    Case::new(
        ". {\n  ca{$X}\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'cashe'",
    )
    .env(&[("X", "she")]),
    Case::new(
        "example.org:1053\nwhoami\nbogus\n",
        "Corefile:3 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        "example.org:1053\nwhoami {\n}\n{\n",
        "Corefile:4 - Error during parsing: Unexpected EOF",
    ),
    Case::new(
        ". {\n whoami\n}\nexample.org {\n bogus\n}\n",
        "Corefile:5 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        ". {\n whoami\n\n\n   # a comment\n bogus # x\n}\n",
        "Corefile:6 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        ". {\n chaos \"a\nb\" c\n bogus\n}\n",
        "Corefile:4 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        ". {\r\n whoami\r\n bogus\r\n}\r\n",
        "Corefile:3 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        "\u{feff}. {\n bogus\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        ". { whoami\n bogus }\n",
        "Corefile:2 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        ". { bogus\n}\n",
        "Corefile:1 - Error during parsing: Unknown directive 'bogus'",
    ),
    // Braces.
    Case::new(
        ". {",
        "Corefile:1 - Syntax error: Unexpected token '{', expecting '}'",
    ),
    Case::new(
        ". {\n",
        "Corefile:1 - Syntax error: Unexpected token '{', expecting '}'",
    ),
    Case::new(
        ". {\n whoami\n",
        "Corefile:2 - Syntax error: Unexpected token 'whoami', expecting '}'",
    ),
    Case::new(
        ". {\n whoami\n log\n",
        "Corefile:3 - Syntax error: Unexpected token 'log', expecting '}'",
    ),
    Case::new(
        ". {\n whoami {\n",
        "Corefile:2 - Error during parsing: Unexpected EOF",
    ),
    Case::new(
        ". {\n hosts {\n  1.2.3.4 a\n",
        "Corefile:3 - Error during parsing: Unexpected EOF",
    ),
    Case::new(
        ". {\n whoami }\n",
        "Corefile:2 - Error during parsing: Unexpected '}' because no matching opening brace",
    ),
    Case::new(
        ". {\n whoami }\n}\n",
        "Corefile:2 - Error during parsing: Unexpected '}' because no matching opening brace",
    ),
    Case::new(
        ". {\n whoami a }\n}\n",
        "Corefile:2 - Error during parsing: Unexpected '}' because no matching opening brace",
    ),
    Case::new(
        "{\n",
        "Corefile:1 - Syntax error: Unexpected token '{', expecting '}'",
    ),
    Case::new(
        ".\nwhoami }\n",
        "Corefile:2 - Error during parsing: Unexpected '}' because no matching opening brace",
    ),
    Case::new(
        ". {\n}}\n",
        "Corefile:2 - Error during parsing: Unknown directive '}}'",
    ),
    Case::new(
        ".{\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: .{",
    ),
    Case::new(
        ".:1053{\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: .:1053{",
    ),
    Case::new(
        ". { whoami }\n",
        "Corefile:1 - Error during parsing: Unexpected '}' because no matching opening brace",
    ),
    Case::new(
        ". \"{\"\n bogus\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        ". {\n template ANY ANY {\n  answer \"{{ .Name }}\n }\n}\n",
        "Corefile:3 - Error during parsing: Unexpected EOF",
    ),
    Case::new(
        ". {\n chaos \"\n}\n",
        "Corefile:2 - Syntax error: Unexpected token '\n}\n', expecting '}'",
    ),
    Case::new(
        ". {\n chaos \"x\n}\n",
        "Corefile:2 - Syntax error: Unexpected token 'x\n}\n', expecting '}'",
    ),
    // Keys.
    Case::new(
        "a,\n {\n}\n",
        "Corefile:2 - Error during parsing: Expected another address but had '{' - check for extra comma",
    ),
    Case::new(
        "a, {\n}\n",
        "Corefile:1 - Error during parsing: Expected another address but had '{' - check for extra comma",
    ),
    Case::new(
        "a, b, {\n}\n",
        "Corefile:1 - Error during parsing: Expected another address but had '{' - check for extra comma",
    ),
    Case::new("a,", "Corefile:1 - Error during parsing: Unexpected EOF"),
    Case::new("a,\n", "Corefile:1 - Error during parsing: Unexpected EOF"),
    Case::new(
        "a, b,\n\n",
        "Corefile:1 - Error during parsing: Unexpected EOF",
    ),
    Case::new(
        "a, # b\n",
        "Corefile:1 - Error during parsing: Unexpected EOF",
    ),
    Case::new(",\n", "Corefile:1 - Error during parsing: Unexpected EOF"),
    Case::new(
        ", {\n}\n",
        "Corefile:1 - Error during parsing: Expected another address but had '{' - check for extra comma",
    ),
    Case::new(
        "a b\nc {\n whoami\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'c'",
    ),
    Case::new(
        "a.\nb. {\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'b.'",
    ),
    Case::new(
        "a. b.\nwhoami\nc.\n",
        "Corefile:3 - Error during parsing: Unknown directive 'c.'",
    ),
    Case::new(
        "{$UNSET} {\n bogus\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        "{$UNSET}\nbogus\n",
        "Corefile:2 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        "\"\" {\n bogus\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        "\"\"\n{\n bogus\n}\n",
        "Corefile:3 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        "\"a b\" {\n bogus\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        "(a) {\n whoami\n}\nbogus {\n bogus\n}\n",
        "Corefile:5 - Error during parsing: Unknown directive 'bogus'",
    ),
    // Zones and ports.
    Case::new(
        ":53 {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: ",
    ),
    Case::new(
        ": {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \":\"",
    ),
    Case::new(
        ".: {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \".:\"",
    ),
    Case::new(
        "example.org: {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"example.org:\"",
    ),
    Case::new(
        "dns:// {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"\"",
    ),
    Case::new(
        "dns://:53 {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: ",
    ),
    Case::new(
        "tls:// {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"\"",
    ),
    Case::new(
        "tls://:853 {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: ",
    ),
    Case::new(
        "example..org {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: example..org",
    ),
    Case::new(
        ".example.org {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: .example.org",
    ),
    Case::new(
        "example.org.. {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: example.org..",
    ),
    Case::new(
        ".. {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: ..",
    ),
    Case::new(
        "a\\ {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: a\\",
    ),
    Case::new(".:99999 {\n whoami\n}\n", "address 99999: invalid port"),
    Case::new(".:-1 {\n whoami\n}\n", "address -1: invalid port"),
    Case::new(".:65536 {\n whoami\n}\n", "address 65536: invalid port"),
    Case::new(
        "example.org:70000 {\n whoami\n}\n",
        "address 70000: invalid port",
    ),
    Case::new(
        "0::/8 {\n whoami\n}\n",
        "error inspecting server blocks: invalid CIDR 0::/8",
    ),
    Case::new(
        "0:1::/32 {\n whoami\n}\n",
        "error inspecting server blocks: invalid CIDR 0:1::/32",
    ),
    Case::new(
        "::/0 {\n whoami\n}\n",
        "error inspecting server blocks: invalid CIDR ::/0",
    ),
    Case::new(
        "::1/128 {\n whoami\n}\n",
        "error inspecting server blocks: invalid CIDR ::1/128",
    ),
    Case::new(
        "::  {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"::\"",
    ),
    Case::new(
        "quic://x: {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"x:\"",
    ),
    Case::new(
        "unix:// {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"\"",
    ),
    Case::new(
        "grpc://a..b {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: a..b",
    ),
    Case::new(
        "10.0.0.0/24: {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"10.0.0.0/24:\"",
    ),
    Case::new(
        "10.0.0.0/24:70000 {\n whoami\n}\n",
        "address 70000: invalid port",
    ),
    Case::new(
        "2001:db8::/32: {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"2001:db8::/32:\"",
    ),
    Case::new(
        "[::1]: {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"[::1]:\"",
    ),
    Case::new(
        "a:b: {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"a:b:\"",
    ),
    Case::new(
        "\"a:\" {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"a:\"",
    ),
    Case::new(
        "a.:53: {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"a.:53:\"",
    ),
    Case::new(
        "https3:// {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"\"",
    ),
    Case::new(
        "é.. {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: é..",
    ),
    Case::new(
        "{$K} {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: a..b",
    )
    .env(&[("K", "a..b")]),
    Case::new(
        "a\\.b..c {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: a\\.b..c",
    ),
    Case::new(
        ".:99999999999999999999 {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: .:99999999999999999999",
    ),
    Case::new(
        ".:+53, {\n whoami\n}\n",
        "Corefile:1 - Error during parsing: Expected another address but had '{' - check for extra comma",
    ),
    Case::new(
        "a. b..c {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: b..c",
    ),
    Case::new(
        "a., b:, c {\n whoami\n}\n",
        "error inspecting server blocks: expecting data after last colon: \"b:\"",
    ),
    Case::new(
        "a. {\n whoami\n}\nb..c {\n whoami\n}\n",
        "error inspecting server blocks: zone is not a valid domain name: b..c",
    ),
    // Zones that are served twice.
    Case::new(
        ". {\n whoami\n}\n. {\n whoami\n}\n",
        "cannot serve dns://.:1053 - it is already defined",
    ),
    Case::new(
        "a.:5 A:5 {\n whoami\n}\n",
        "cannot serve dns://a.:5 - it is already defined",
    ),
    Case::new(
        "a:5 a.:5 {\n whoami\n}\n",
        "cannot serve dns://a.:5 - it is already defined",
    ),
    Case::new(
        "dns://a:5 {\n whoami\n}\na:5 {\n whoami\n}\n",
        "cannot serve dns://a.:5 - it is already defined",
    ),
    Case::new(
        "a:5 {\n whoami\n}\nb:5 c:5 a:5 {\n whoami\n}\n",
        "cannot serve dns://a.:5 - it is already defined",
    ),
    Case::new(
        "10.0.0.0/24:5 {\n whoami\n}\n0.0.10.in-addr.arpa:5 {\n whoami\n}\n",
        "cannot serve dns://0.0.10.in-addr.arpa.:5 - it is already defined",
    ),
    Case::new(
        "10.0.0.0/15:5 10.1.0.0/16:5 {\n whoami\n}\n",
        "cannot serve dns://1.10.in-addr.arpa.:5 - it is already defined",
    ),
    Case::new(
        "10.0.0.7/24:5 10.0.0.8/24:5 {\n whoami\n}\n",
        "cannot serve dns://0.0.10.in-addr.arpa.:5 - it is already defined",
    ),
    Case::new(
        "a:5 {\n bind 127.0.0.1\n whoami\n}\na:5 {\n bind 127.0.0.1\n whoami\n}\n",
        "cannot serve dns://a.:5 on 127.0.0.1 - it is already defined",
    ),
    Case::new(
        "a:5 {\n bind 127.0.0.1\n whoami\n}\na:5 {\n whoami\n}\n",
        "cannot serve dns://a.:5 - zone overlap listener capacity with dns://a.:5 on 127.0.0.1",
    ),
    Case::new(
        "a:5 {\n whoami\n}\na:5 {\n bind 127.0.0.1\n whoami\n}\n",
        "cannot serve dns://a.:5 on 127.0.0.1 - zone overlap listener capacity with dns://a.:5",
    ),
    Case::new(
        "a:5 {\n bind 127.0.0.1 127.0.0.1\n whoami\n}\n",
        "cannot serve dns://a.:5 on 127.0.0.1 - it is already defined",
    ),
    Case::new(
        "tls://a {\n}\ntls://a:853 {\n}\n",
        "cannot serve tls://a.:853 - it is already defined",
    ),
    Case::new(
        "a:5 {\n whoami\n}\na:05 {\n whoami\n}\n",
        "cannot serve dns://a.:5 - it is already defined",
    ),
    Case::new(
        "a:5\na:5 {\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'a:5'",
    ),
    Case::new(
        "{$Z}:5 {\n}\nb.test:5 {\n}\n",
        "cannot serve dns://b.test.:5 - it is already defined",
    )
    .env(&[("Z", "B.Test")]),
    Case::new(
        "a:5 {\n bind 127.0.0.1\n}\na:5 {\n bind 127.0.0.2\n}\na:5 {\n}\n",
        "cannot serve dns://a.:5 - zone overlap listener capacity with dns://a.:5 on 127.0.0.2",
    ),
    // Snippets.
    Case::new(
        "(s) {\n",
        "Corefile:1 - Syntax error: Unexpected token '{', expecting '}'",
    ),
    Case::new(
        "(s) {\n whoami\n",
        "Corefile:2 - Syntax error: Unexpected token 'whoami', expecting '}'",
    ),
    Case::new(
        "(s) {\n whoami {\n }\n",
        "Corefile:3 - Syntax error: Unexpected token '}', expecting '}'",
    ),
    Case::new(
        "(s)\nwhoami\n",
        "Corefile:2 - Syntax error: Unexpected token 'whoami', expecting '{'",
    ),
    Case::new(
        "(s) x {\n bogus\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        "(s),\n{\n}\n",
        "Corefile:2 - Error during parsing: Expected another address but had '{' - check for extra comma",
    ),
    Case::new(
        "(s) {\n}\n(s) {\n}\n",
        "Corefile:3 - Error during parsing: redeclaration of previously declared snippet s",
    ),
    Case::new(
        "(s) {\n}\n. {\n}\n(s) {\n whoami\n}\n",
        "Corefile:5 - Error during parsing: redeclaration of previously declared snippet s",
    ),
    Case::new(
        "(s) {\n bogus\n}\n. {\n import s\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        "(s) {\n\n whoami {\n}\n",
        "Corefile:4 - Syntax error: Unexpected token '}', expecting '}'",
    ),
    Case::new(
        "(s) {\n import s\n}\n",
        "Corefile:3 - Error during parsing: maximum snippet import depth (10000) exceeded",
    ),
    Case::new(
        "(s) {\n whoami\n import s\n}\n. {\n import s\n}\n",
        "Corefile:4 - Error during parsing: maximum snippet import depth (10000) exceeded",
    ),
    Case::new(
        "(s) {\n whoami { import s\n }\n import {$S}\n}\n",
        "Corefile:5 - Error during parsing: maximum snippet import depth (10000) exceeded",
    )
    .env(&[("S", "s")]),
    Case::new(
        "(a) {\n import b\n}\n(b) {\n import a\n}\n. {\n import a\n}\n",
        "Corefile:5 - Error during parsing: maximum snippet import depth (10000) exceeded",
    ),
    Case::new(
        "(a) {\n whoami\n import b\n}\n(b) {\n import a\n}\n. {\n import a\n}\n",
        "Corefile:6 - Error during parsing: maximum snippet import depth (10000) exceeded",
    ),
    Case::new(
        "(a) {\n hosts {\n  import b\n }\n}\n(b) {\n hosts {\n  import a\n }\n}\n. {\n import a\n}\n",
        "Corefile:8 - Error during parsing: maximum snippet import depth (10000) exceeded",
    ),
    Case::new(
        ". {\n import s\n}\n(s) {\n whoami\n}\n",
        "Corefile:2 - Error during parsing: File to import not found: s",
    ),
    Case::new(
        "({$N}) {\n whoami\n}\n. {\n import nam\n}\n",
        "Corefile:5 - Error during parsing: File to import not found: nam",
    )
    .env(&[("N", "name")]),
    Case::new(
        "(s) {\n hosts {\n }\n. {\n import s\n}\n",
        "Corefile:6 - Syntax error: Unexpected token '}', expecting '}'",
    ),
    Case::new(
        "(s) {\n  }\n }\n. {\n import s\n}\n",
        "Corefile:4 - Error during parsing: Unknown directive '.'",
    ),
    Case::new(
        "() {\n}\n() {\n}\n",
        "Corefile:3 - Error during parsing: redeclaration of previously declared snippet ",
    ),
    // Imports.
    Case::new(
        ". {\n import\n}\n",
        "Corefile:2 - Error during parsing: Wrong argument count or unexpected line ending after 'import'",
    ),
    Case::new(
        "import\n",
        "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'import'",
    ),
    Case::new(
        "import\n. {\n}\n",
        "Corefile:1 - Error during parsing: Wrong argument count or unexpected line ending after 'import'",
    ),
    Case::new(
        ". {\n import a b\n}\n",
        "Corefile:2 - Error during parsing: Import takes only one argument (glob pattern or file)",
    ),
    Case::new(
        "import a b\n",
        "Corefile:1 - Error during parsing: Import takes only one argument (glob pattern or file)",
    ),
    Case::new(
        ". {\n import a {\n }\n}\n",
        "Corefile:2 - Error during parsing: Import takes only one argument (glob pattern or file)",
    ),
    Case::new(
        ". {\n import \"\"\n}\n",
        "Corefile:2 - Error during parsing: Import requires a non-empty filepath",
    ),
    Case::new(
        ". {\n import {$UNSET}\n}\n",
        "Corefile:2 - Error during parsing: Import requires a non-empty filepath",
    ),
    Case::new(
        ". {\n import nothere\n}\n",
        "Corefile:2 - Error during parsing: File to import not found: nothere",
    ),
    Case::new(
        "import nothere\n",
        "Corefile:1 - Error during parsing: File to import not found: nothere",
    ),
    Case::new(
        "import sub/../nothere\n",
        "Corefile:1 - Error during parsing: File to import not found: sub/../nothere",
    ),
    Case::new(
        "import /nothere/x\n",
        "Corefile:1 - Error during parsing: File to import not found: /nothere/x",
    ),
    Case::new(
        ". {\n hosts {\n  import nothere\n }\n}\n",
        "Corefile:3 - Error during parsing: File to import not found: nothere",
    ),
    Case::new(
        ". {\n hosts {\n  1.2.3.4 import\n  import\n }\n}\n",
        "Corefile:4 - Error during parsing: Wrong argument count or unexpected line ending after 'import'",
    ),
    Case::new(
        ". {\n hosts {\n  import a b\n }\n}\n",
        "Corefile:3 - Error during parsing: Import takes only one argument (glob pattern or file)",
    ),
    Case::new(
        ". {\n import *x*\n}\n",
        "Corefile:2 - Error during parsing: Glob pattern may only contain one wildcard (*), but has others: $DIR/*x*",
    ),
    Case::new(
        ". {\n import x??\n}\n",
        "Corefile:2 - Error during parsing: Glob pattern may only contain one wildcard (*), but has others: $DIR/x??",
    ),
    Case::new(
        ". {\n import [ab]\n}\n",
        "Corefile:2 - Error during parsing: Glob pattern may only contain one wildcard (*), but has others: $DIR/[ab]",
    ),
    Case::new(
        ". {\n import */*.conf\n}\n",
        "Corefile:2 - Error during parsing: Glob pattern may only contain one wildcard (*), but has others: $DIR/*/*.conf",
    ),
    Case::new(
        ". {\n import a*b?c?\n}\n",
        "Corefile:2 - Error during parsing: Glob pattern may only contain one wildcard (*), but has others: $DIR/a*b?c?",
    ),
    Case::new(
        ". {\n import x[y\n}\n",
        "Corefile:2 - Error during parsing: Failed to use import pattern x[y: syntax error in pattern",
    ),
    Case::new(
        ". {\n import x\\\n}\n",
        "Corefile:2 - Error during parsing: Failed to use import pattern x\\: syntax error in pattern",
    ),
    Case::new(
        ". {\n import x]\n bogus\n}\n",
        "Corefile:3 - Error during parsing: Unknown directive 'bogus'",
    ),
    Case::new(
        ". {\n import d\n}\n",
        "Corefile:2 - Error during parsing: Could not import $DIR/d: is a directory",
    )
    .files(&[("d/x", "whoami\n")]),
    Case::new(
        ". {\n import d*\n}\n",
        "Corefile:2 - Error during parsing: Could not import $DIR/d: is a directory",
    )
    .files(&[("d/x", "whoami\n")]),
    Case::new(
        ". {\n import x\n}\n",
        "$DIR/x:1 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("x", "bogus\n")]),
    Case::new(
        ". {\n import d/x\n}\n",
        "$DIR/d/y:2 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("d/x", "whoami\n\nimport y\n"), ("d/y", "\n bogus\n")]),
    Case::new(
        ". {\n import d/x\n}\n",
        "$DIR/d/x:3 - Error during parsing: File to import not found: y",
    )
    .files(&[("d/x", "whoami\n\nimport y\n")]),
    Case::new(
        ". {\n import d/*.conf\n}\n",
        "$DIR/d/b.conf:1 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[
        ("d/a.conf", "whoami\n"),
        ("d/b.conf", "bogus\n"),
        ("d/c.conf", "wrong\n"),
    ]),
    Case::new(
        ". {\n import {$F}\n}\n",
        "$DIR/x:1 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("x", "bogus\n")])
    .env(&[("F", "x")]),
    Case::new(
        "import x\n",
        "$DIR/x:2 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("x", ". {\n bogus\n}\n")]),
    Case::new(
        "import x {\n bogus\n}\n",
        "Corefile:1 - Error during parsing: Import takes only one argument (glob pattern or file)",
    )
    .files(&[("x", "example.org")]),
    Case::new(
        "import x\n{\n bogus\n}\n",
        "Corefile:3 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("x", "example.org")]),
    Case::new(
        "a,\nimport x\n{\n bogus\n}\n",
        "Corefile:4 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("x", "example.org")]),
    Case::new(
        "a,\nimport x*\n",
        "Corefile:0 - Error during parsing: Unexpected EOF",
    ),
    Case::new(
        "import x\n",
        "$DIR/x:1 - Error during parsing: maximum file import depth (10000) exceeded",
    )
    .files(&[("x", "import x\n")]),
    Case::new(
        "import x\n",
        "$DIR/y:1 - Error during parsing: maximum file import depth (10000) exceeded",
    )
    .files(&[("x", "import y\n"), ("y", "import x\n")]),
    Case::new(
        ". {\n import x\n}\n",
        "$DIR/x:2 - Error during parsing: maximum file import depth (10000) exceeded",
    )
    .files(&[("x", "whoami\nimport x\n")]),
    Case::new(
        ". {\n hosts {\n  import x\n }\n bogus\n}\n",
        "Corefile:5 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("x", "1.2.3.4 a\n")]),
    Case::new(
        ". {\n whoami import x\n bogus\n}\n",
        "Corefile:3 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("x", "1.2.3.4 a\n")]),
    Case::new(
        "import x\n. {\n import s\n}\n",
        "$DIR/x:2 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("x", "(s) {\n bogus\n}\n")]),
    Case::new(
        "(s) {\n whoami\n}\n. {\n import x\n}\n",
        "$DIR/x:2 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("x", "import s\nbogus\n")]),
    Case::new(
        "(x) {\n bogus1\n}\n. {\n import x\n}\n",
        "Corefile:2 - Error during parsing: Unknown directive 'bogus1'",
    )
    .files(&[("x", "bogus2\n")]),
    Case::new(
        "import x\n",
        "error inspecting server blocks: zone is not a valid domain name: a..b",
    )
    .files(&[("x", "a..b {\n}\n")]),
    Case::new(
        "a.:5 {\n}\nimport x\n",
        "cannot serve dns://a.:5 - it is already defined",
    )
    .files(&[("x", "a:5 {\n}\n")]),
    Case::new(
        "import x\n",
        "$DIR/x:2 - Error during parsing: Unexpected '}' because no matching opening brace",
    )
    .files(&[("x", ". {\n whoami }\n")]),
    Case::new(
        "import \"x y\"\n",
        "$DIR/x y:2 - Error during parsing: Unknown directive 'bogus'",
    )
    .files(&[("x y", "\u{feff}. {\r\n bogus\r\n}\r\n")]),
];
