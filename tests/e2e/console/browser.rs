//! The page as a person sees it, in a real browser.

use std::path::PathBuf;

use pando_test::{Ask, Browser, Client, Screen, Server, Upstream};

use super::{CLUSTER, COREFILE};
use crate::pando;

const PHONE: Screen = Screen {
    width: 390,
    height: 844,
    scale: 2,
    dark: false,
};
const DESK: Screen = Screen {
    width: 1280,
    height: 900,
    scale: 1,
    dark: false,
};

/// A search list at work, for as long as it is kept.
async fn load(client: Client) {
    let asked = [
        ("web.shop.svc.cluster.local", "A"),
        ("web.shop.svc.cluster.local", "AAAA"),
        ("db.shop.svc.cluster.local", "A"),
        ("api.stripe.com.shop.svc.cluster.local", "A"),
        ("api.stripe.com.svc.cluster.local", "A"),
        ("api.stripe.com.cluster.local", "A"),
        ("<b>bold</b>.example.com.shop.svc.cluster.local", "A"),
        ("a.test", "A"),
    ];
    for (name, kind) in asked.into_iter().cycle() {
        // A page is what is tested here, not an answer.
        let _ = client.udp(&Ask::new(name, kind)).await;
    }
}

async fn start() -> (Server, Upstream) {
    let upstream = Upstream::start().await.unwrap();
    upstream.answer("a.test.", "A", &["a.test. 60 IN A 192.0.2.1"]);
    // The second is nobody's.
    let both = format!("{} 127.0.0.1:9", upstream.address());
    let corefile = COREFILE.replace("$UPSTREAM", &both);
    let server = pando(&corefile).file("cluster.yaml", CLUSTER).start();
    (server.await.unwrap(), upstream)
}

/// Where pictures are written for people, if they say so.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("PANDO_PICTURES").map(PathBuf::from)
}

#[tokio::test]
async fn the_page_shows_its_figures_on_every_screen() {
    let Some(mut browser) = Browser::start().await.unwrap() else {
        println!("skipped: no chromium");
        return;
    };
    let (mut server, _upstream) = start().await;
    let url = format!("http://{}/", server.at("METRICS_PORT"));
    let load = tokio::spawn(load(server.client()));
    for (name, screen) in [
        ("phone", PHONE),
        (
            "phone-dark",
            Screen {
                dark: true,
                ..PHONE
            },
        ),
        ("desk", DESK),
        ("desk-dark", Screen { dark: true, ..DESK }),
    ] {
        let tab = browser.open(&url, screen).await.unwrap();
        for figure in [
            "document.body.dataset.link === 'live'",
            // Rates, once two events are there.
            "Number(document.getElementById('qps').textContent.replaceAll(',', '')) > 0",
            "/\\d (µs|ms|s)$/.test(document.getElementById('p99').textContent)",
            "/NXDOMAIN/.test(document.getElementById('rcodes').textContent)",
            "/Search path/.test(document.getElementById('denials').textContent)",
            "/Cluster state/.test(document.getElementById('sources').textContent)",
            "/cluster\\.local\\./.test(document.getElementById('zones').textContent)",
            "/Current/.test(document.getElementById('zones').textContent)",
            "/127\\.0\\.0\\.1:9Down/.test(document.getElementById('upstreams').textContent)",
            "/Upstream 127\\.0\\.0\\.1:9: down/.test(document.getElementById('notice').textContent)",
            "/kubernetes/.test(document.getElementById('blocks').textContent)",
            // A name is text, whatever it looks like.
            "document.getElementById('names').textContent.includes('<b>bold</b>.example.com')",
            "document.querySelectorAll('b').length === 0",
            // Labels on the axes, and colours on the map.
            "document.querySelectorAll('#heat-axis span').length > 4",
            "document.getElementById('heat').getContext('2d').getImageData(0, 0, 1e4, 1e3).data.some(Boolean)",
        ] {
            let shown = browser.wait(&tab, figure).await;
            shown.unwrap_or_else(|error| panic!("{name}: {error:#}"));
        }
        // Nothing sticks out to the side.
        let fits = "document.documentElement.scrollWidth <= innerWidth";
        assert_eq!(browser.evaluate(&tab, fits).await.unwrap(), true, "{name}");
        let ground = "getComputedStyle(document.documentElement).backgroundColor";
        let ground = browser.evaluate(&tab, ground).await.unwrap();
        let expected = match screen.dark {
            true => "rgb(13, 18, 23)",
            false => "rgb(246, 247, 249)",
        };
        assert_eq!(ground, expected, "{name}");
        let errors = browser.errors(&tab).await.unwrap();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        if let Some(folder) = pictures() {
            let picture = browser.picture(&tab).await.unwrap();
            std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        }
    }
    load.abort();
}

#[tokio::test]
async fn a_server_that_goes_is_told_and_found_again() {
    let Some(mut browser) = Browser::start().await.unwrap() else {
        println!("skipped: no chromium");
        return;
    };
    let (mut server, upstream) = start().await;
    let metrics = server.at("METRICS_PORT");
    let tab = browser
        .open(&format!("http://{metrics}/"), DESK)
        .await
        .unwrap();
    let live = "document.body.dataset.link === 'live'";
    browser.wait(&tab, live).await.unwrap();
    // Empty states say why they are empty.
    let nothing = "/No NXDOMAIN in the last minute/.test(document.getElementById('denials-empty').textContent)";
    browser.wait(&tab, nothing).await.unwrap();

    server.kill().await.unwrap();
    let lost = "document.body.dataset.link === 'lost' && /Disconnected/.test(document.getElementById('link').textContent)";
    browser.wait(&tab, lost).await.unwrap();
    // Another one at the same address.
    let both = format!("{} 127.0.0.1:9", upstream.address());
    let corefile = COREFILE
        .replace("$UPSTREAM", &both)
        .replace("$METRICS_PORT", &metrics.port().to_string());
    let again = pando(&corefile).file("cluster.yaml", CLUSTER).start();
    let _again = again.await.unwrap();
    browser.wait(&tab, live).await.unwrap();
}
