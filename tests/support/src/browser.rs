//! A headless Chromium that opens pages and is asked what is on them.
//!
//! It is spoken to by the DevTools protocol over two pipes, so that no port
//! is needed. Where Chromium is not installed there is none.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::BOUND;

/// Debian's name, and that of others.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What somebody looks at a page with.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Device pixels for each of them.
    pub scale: u32,
    /// Whether the user prefers dark pages.
    pub dark: bool,
}

/// A running browser; gone when dropped.
#[derive(Debug)]
pub struct Browser {
    _child: Child,
    _profile: TempDir,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    last_id: u64,
    /// Events that came while something else was waited for.
    events: VecDeque<Value>,
}

/// An open page.
#[derive(Clone, Debug)]
pub struct Tab(String);

impl Browser {
    /// Starts the one that is installed; `None` where none is.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<_> = std::env::split_paths(&path).collect();
        let installed = NAMES.iter().find_map(|name| {
            let mut found = folders.iter_mut().map(|folder| folder.join(name));
            found.find(|file| file.is_file())
        });
        match installed {
            Some(file) => Ok(Some(Self::run(&file).await?)),
            None => Ok(None),
        }
    }

    async fn run(file: &Path) -> anyhow::Result<Self> {
        let profile = tempfile::Builder::new()
            .prefix("pando-browser-")
            .tempdir()?;
        // The browser reads from 3 and writes to 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(file)
            .args([
                "--headless=new",
                // Root, as in containers, has no sandbox; the page is our own.
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--hide-scrollbars",
                "--no-first-run",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no pipes");
        };
        Ok(Self {
            _child: child,
            _profile: profile,
            to,
            from: BufReader::new(from),
            last_id: 0,
            events: VecDeque::new(),
        })
    }

    /// Opens a page.
    ///
    /// # Errors
    ///
    /// When the browser does not.
    pub async fn open(&mut self, url: &str, screen: Screen) -> anyhow::Result<Tab> {
        let blank = json!({ "url": "about:blank" });
        let target = self.call(None, "Target.createTarget", blank).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", attach).await?;
        let session = session["sessionId"].as_str().context("no session")?;
        let tab = Tab(session.to_owned());
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            self.call(Some(&tab), domain, json!({})).await?;
        }
        let metrics = json!({
            "width": screen.width,
            "height": screen.height,
            "deviceScaleFactor": screen.scale,
            "mobile": screen.width < 600,
        });
        self.call(Some(&tab), "Emulation.setDeviceMetricsOverride", metrics)
            .await?;
        let scheme = if screen.dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call(Some(&tab), "Emulation.setEmulatedMedia", media)
            .await?;
        let to = json!({ "url": url });
        let navigated = self.call(Some(&tab), "Page.navigate", to).await?;
        if let Some(error) = navigated["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        // The document is a new one only now.
        while !self.events.iter().any(|event| {
            event["method"] == "Page.domContentEventFired" && event["sessionId"] == tab.0
        }) {
            let event = self.receive().await.context(url.to_owned())?;
            self.events.push_back(event);
        }
        Ok(tab)
    }

    /// The value of an expression on the page.
    ///
    /// # Errors
    ///
    /// When it throws, with what it threw.
    pub async fn evaluate(&mut self, tab: &Tab, expression: &str) -> anyhow::Result<Value> {
        let params = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
        });
        let mut done = self.call(Some(tab), "Runtime.evaluate", params).await?;
        if !done["exceptionDetails"].is_null() {
            bail!("{expression}: {}", done["exceptionDetails"]);
        }
        Ok(done["result"]["value"].take())
    }

    /// Waits until an expression is true, which is looked at whenever the
    /// document changes.
    ///
    /// # Errors
    ///
    /// When it is not within [`BOUND`]; shows the text of the page.
    pub async fn wait(&mut self, tab: &Tab, expression: &str) -> anyhow::Result<()> {
        let bound = BOUND.as_millis();
        let watched = format!(
            "new Promise((done) => {{
                const end = (found) => {{ observer.disconnect(); done(found); }};
                const look = () => {{ if ({expression}) end(true); }};
                const observer = new MutationObserver(look);
                observer.observe(document, {{ subtree: true, childList: true, characterData: true, attributes: true }});
                setTimeout(() => end(false), {bound});
                look();
            }})"
        );
        if self.evaluate(tab, &watched).await? == true {
            return Ok(());
        }
        let shown = self.evaluate(tab, "document.body.innerText").await?;
        bail!("{expression}: not within {BOUND:?} on\n{shown}");
    }

    /// What went wrong on any page so far: exceptions, and errors such as a
    /// breach of its policy.
    pub async fn errors(&mut self, tab: &Tab) -> anyhow::Result<Vec<Value>> {
        // Whatever was said before this has arrived with its answer.
        self.evaluate(tab, "0").await?;
        let bad = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        Ok(self.events.iter().filter(bad).cloned().collect())
    }

    /// The page as a PNG, to its end.
    ///
    /// # Errors
    ///
    /// When the browser has none.
    pub async fn picture(&mut self, tab: &Tab) -> anyhow::Result<Vec<u8>> {
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let shot = self
            .call(Some(tab), "Page.captureScreenshot", params)
            .await?;
        let data = shot["data"].as_str().context("no picture")?;
        Ok(BASE64.decode(data.as_bytes())?)
    }

    async fn call(
        &mut self,
        tab: Option<&Tab>,
        method: &str,
        params: Value,
    ) -> anyhow::Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(Tab(session)) = tab {
            message["sessionId"] = json!(session);
        }
        let mut text = serde_json::to_vec(&message)?;
        text.push(0);
        self.to.write_all(&text).await?;
        loop {
            let mut message = self.receive().await.with_context(|| method.to_owned())?;
            if message["id"] != id {
                self.events.push_back(message);
                continue;
            }
            if !message["error"].is_null() {
                bail!("{method}: {}", message["error"]);
            }
            return Ok(message["result"].take());
        }
    }

    /// One message of the browser. A little more patient than what runs in it.
    async fn receive(&mut self) -> anyhow::Result<Value> {
        let mut text = Vec::new();
        timeout(BOUND * 2, self.from.read_until(0, &mut text)).await??;
        if text.pop() != Some(0) {
            bail!("the browser has ended");
        }
        Ok(serde_json::from_slice(&text)?)
    }
}
