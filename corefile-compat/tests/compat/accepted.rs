//! Corefiles that are accepted, with the beginning of the SHA-512 that CoreDNS
//! logs for them: of the whole parsed tree, line numbers and all.

use super::case::Case;

pub(crate) const CASES: &[Case] = &[
    Case::new(".\nreload\n", "2c2313f5365126eb3d400489"),
    Case::new(". {\n reload\n}", "2c2313f5365126eb3d400489"),
    Case::new(
        "\n\n  .   {\n\n reload # 30s\n\n}\n\n",
        "26e78bf32ca909a3d2a61db8",
    ),
    Case::new("\u{feff}. {\n reload\n}\n", "2c2313f5365126eb3d400489"),
    Case::new(".\r\n{\r\n reload\r\n}\r\n", "aa5a19f2080f25ad4e2794b2"),
    Case::new("a b, c,\n  d\n{\n reload\n}\n", "e3e81137b84f26c32d48aaf4"),
    Case::new("a,b {\n reload\n}\n", "4d3b65297fdc4372efb43408"),
    Case::new(
        "{\n reload\n}\n. {\n reload\n}\n",
        "26e78bf32ca909a3d2a61db8",
    ),
    Case::new("\"\" a \"b c\" {\n reload\n}\n", "b523d43dd9c94ccbbf2e0bb0"),
    Case::new("{$Z} {\n reload\n}\n", "065b8ecfb74414afb6681ac8").env(&[("Z", "a b")]),
    Case::new(
        "a {\n reload\n}\nb {\n chaos\n}\nc\nchaos x\nlog\n",
        "1e2d7bbd04f0773e89e183da",
    ),
    Case::new("a { reload\n}\nb { chaos x\n}", "ed3ad869b244fce0d06d6cd9"),
    Case::new(". {\n reload\n}\n}\n", "a6cd19ecf3ff9cce10970154"),
    Case::new("} {\n reload\n}\n", "56611366ddc2fc0f12dcea48"),
    Case::new(". {\n reload\n}\nx.{ {\n}\n", "c5014d7c91950408d00a0cc5"),
    Case::new(
        ". {\n reload\n}\nx {\n chaos\n {\n }\n}\n",
        "984208da435c05f773223568",
    ),
    Case::new(
        "(s) {\n reload\n}\n. {\n import s\n}\n",
        "2c2313f5365126eb3d400489",
    ),
    Case::new(
        "(s) {\n chaos a {$V}\n log\n}\n. {\n reload\n import s\n chaos b\n import s\n}\n",
        "14e49edad657ffe9b73df10f",
    )
    .env(&[("V", "x y")]),
    Case::new(
        "(s)\n{\n reload\n}\n(t) {\n import s\n}\n. {\n import t\n}\n",
        "aa5a19f2080f25ad4e2794b2",
    ),
    Case::new(
        "(s) {\n 1.2.3.4 a\n}\n. {\n reload\n hosts {\n  import s\n  fallthrough\n }\n}\n",
        "0d0504796cc3e54df2ed55d8",
    ),
    Case::new(
        "(s) {\n reload\n}\n. {\n import {$S}\n}\n",
        "2c2313f5365126eb3d400489",
    )
    .env(&[("S", "s")]),
    Case::new(
        "(s) {\n . {\n  reload\n }\n}\nimport s\n",
        "aa5a19f2080f25ad4e2794b2",
    ),
    Case::new(
        "(s) {\n}\n. {\n import s\n reload\n}\n",
        "26e78bf32ca909a3d2a61db8",
    ),
    Case::new(
        "() {\n reload\n}\n. {\n reload\n}\n",
        "26e78bf32ca909a3d2a61db8",
    ),
    Case::new(
        "(s) {\n chaos }\n. {\n reload\n}\n",
        "27d77089fc4ff1eed7153776",
    ),
    Case::new(
        ". {\n reload\n chaos a#b c\n}\n",
        "76f26849544ebca5d8ef5bdf",
    ),
    Case::new(
        ". {\n reload\n chaos a #b c\n}\n",
        "b4a4156cec90c7299a1f6dfd",
    ),
    Case::new(
        ". {\n reload\n chaos \"a#b\" c\n}\n",
        "b5aee37bd1f5c8ea038684dc",
    ),
    Case::new(
        ". {\n reload\n chaos a\"b c\"\n}\n",
        "bfb576c376bbd84f7b434c92",
    ),
    Case::new(
        ". {\n reload\n chaos \"a\"b\"c\"\n}\n",
        "caf88b6e8aa3172598ade7dd",
    ),
    Case::new(
        ". {\n reload\n chaos \"\\\"a\\\" \\b \\\\\" \"\"\n}\n",
        "3e7cde7efc32ec39a24e8119",
    ),
    Case::new(
        ". {\n reload\n chaos a\\ b\n}\n",
        "d35d5a7482244edbb45d8130",
    ),
    Case::new(
        ". {\n reload\n chaos \"a\n\nb\" c\n log\n}\n",
        "f7336dbd4de6f74e694c7001",
    ),
    Case::new(
        ". {\n reload\n chaos \"a\\\nb\"\n}\n",
        "13290aa780d494857187d6dd",
    ),
    Case::new(
        ". {\n reload\n chaos a\rb c\r\n log\n}\n",
        "84e1ad35accf20a26e193eb7",
    ),
    Case::new(
        ". {\n reload\n chaos a\u{a0}b\u{2003}c\u{85}d\u{200b}e\n}\n",
        "b68abb69914931a7de0a41b5",
    ),
    Case::new(
        ". {\n reload\n chaos a\u{b}b\u{c}c\n}\n",
        "4e8b44426eb34b242392beb8",
    ),
    Case::new(
        ". {\n reload\n chaos \"<&>\u{2028}\u{1}\u{7f}\\t\té😀\"\n}\n",
        "8df964a5c385ab371444a0ad",
    ),
    Case::new(
        ". {\n reload\n chaos\n chaos a\n log\n chaos b\n}\n",
        "66b9f7c83fadb7cca4e8a4ff",
    ),
    Case::new(
        ". {\n reload\n chaos import x\n}\n",
        "934d47eaaaad00d599c36863",
    ),
    Case::new(
        ". {\n reload\n chaos {import} {x\n}\n",
        "80c2185fb4e00f8cab2c362c",
    ),
    Case::new(
        ". {\n reload\n \"chaos\" \"a\"\n}\n",
        "b4a4156cec90c7299a1f6dfd",
    ),
    Case::new(
        ". {\n reload\n chaos {$A}{%B%}c {$NONE} x{$NONE}y\n}\n",
        "e4f36d79d0fadc8db0f86137",
    )
    .env(&[("A", "va"), ("B", "A")]),
    Case::new(
        ". {\n reload\n chaos {$} {%} {%%} {$A {%A} {{ $A }} {{$A}} {${%B%}}\n}\n",
        "621aebabc0bd66cd44b4541d",
    )
    .env(&[("A", "va"), ("B", "A")]),
    Case::new(". {\n reload\n chaos {$N}\n}\n", "b7c95fd419929980c69f6d1f")
        .env(&[("A", "va"), ("N", "{$A}")]),
    Case::new(
        ". {\n reload\n chaos \"{$A} {$A}\"\n}\n",
        "ef4a4d3307c79e1ae12284db",
    )
    .env(&[("A", "va")]),
    Case::new(". {\n reload\n {$D} x\n}\n", "385e639a902c1c19021bdeec").env(&[("D", "chaos")]),
    Case::new(". {\n reload\n cha{%O%} x\n}\n", "4dd7c2959a9bfc3cbd9b1ee2").env(&[("O", "os")]),
    Case::new(
        ". {\n reload\n chaos {$NL} x\n log\n}\n",
        "1e417539b8ac3b81b5fdcf1f",
    )
    .env(&[("NL", "l1\nl2")]),
    Case::new(". {\n reload\n chaos x\n}\n", "acf9db12a9510f86095d50c1"),
    Case::new(
        ". {\n reload\n hosts {\n  1.2.3.4 a # c\n\n  5.6.7.8 b\n }\n log\n}\n",
        "cab7d5f656b39294a16b1adc",
    ),
    Case::new(
        ". {\n reload\n template IN A {\n  answer \"{{ .Name }} 60 IN A 1.2.3.4\"\n }\n}\n",
        "193b739b26a82b2a7cc223ca",
    ),
    Case::new(
        ". {\n reload\n rewrite name a b\n rewrite name c d\n}\n",
        "e958fe340d3346efd8452171",
    ),
    Case::new(
        ". {\n reload\n log {\n  class all\n }\n log a {\n }\n}\n",
        "9fe938ee2ee0a3326a1292cb",
    ),
    Case::new(
        ". {\n reload\n chaos \"{\"\n }\n}\n",
        "85ac60e82635c82826bc7d8c",
    ),
];
