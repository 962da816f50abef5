//! Packet rules: DNS of this node is not tracked by conntrack and is let in
//! and out, as node-cache has it.
//!
//! The rules are set by nftables or iptables, whichever the node runs, in a
//! table or in chains of our own, all at once. How they read then is remembered:
//! when they read otherwise, somebody has changed them, and they are set anew.

mod detect;
mod iptables;
mod nft;
mod rules;

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;
use tracing::{info, warn};

use crate::command::CommandError;
use crate::errors::ErrorType;
use crate::flags::Choice;
use iptables::Iptables;
use nft::Nft;
use rules::Rule;

/// The rules of this node and who sets them.
#[derive(Debug)]
pub struct Firewall {
    choice: Choice,
    rules: Vec<Rule>,
    is_ipv6: bool,
    tool: Option<Tool>,
    /// How they read when they were set.
    known: Option<String>,
}

#[derive(Clone, Debug)]
enum Tool {
    Nft(Nft),
    Iptables(Iptables),
}

/// Why the rules are not as they should be.
#[derive(Debug, Error)]
pub enum FirewallError {
    /// None of the programs is installed.
    #[error(
        "{0} to set packet rules with: DNS of this node goes through conntrack, as other traffic \
         does (install nftables or iptables, or say -setupiptables=false)"
    )]
    Missing(&'static str),
    /// A program failed.
    #[error(
        "Error checking/adding iptables rules, error - {0}{hint}",
        hint = hint(.0)
    )]
    Command(#[from] CommandError),
    /// They were set, and are not all there.
    #[error(
        "Error checking/adding iptables rules, error - {tool}: {found} of {expected} rules are there"
    )]
    NotSet {
        /// What has set them.
        tool: String,
        /// How many are there.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
}

impl FirewallError {
    /// How it is counted.
    pub fn kind(&self) -> ErrorType {
        match self {
            Self::Command(CommandError::Failed { complaint, .. })
                if complaint.contains("holding the xtables lock") =>
            {
                ErrorType::IptablesLock
            }
            _ => ErrorType::Iptables,
        }
    }
}

fn hint(error: &CommandError) -> &'static str {
    match error {
        CommandError::Failed { complaint, .. }
            if ["you must be root", "Operation not permitted"]
                .iter()
                .any(|words| complaint.contains(words)) =>
        {
            " (this needs the capability NET_ADMIN)"
        }
        _ => "",
    }
}

impl Firewall {
    /// Does nothing yet.
    pub fn new(choice: Choice, addresses: &[IpAddr], port: u16, health_port: u16) -> Self {
        Self {
            choice,
            rules: rules::all(addresses, port, health_port),
            is_ipv6: addresses.iter().any(IpAddr::is_ipv6),
            tool: None,
            known: None,
        }
    }

    /// Sets the rules where they are not as they were set.
    ///
    /// # Errors
    ///
    /// When they cannot be read or set. Then they are as they were.
    pub async fn ensure(&mut self) -> Result<(), FirewallError> {
        if self.tool.is_none() {
            let tool = detect::tool(self.choice, self.is_ipv6).await?;
            info!("Packet rules are set by {tool}");
            if let Some(chain) = detect::dropping_chain(&tool, self.is_ipv6).await {
                warn!(
                    "nft: {chain} drops what it does not know, and no other table can overrule \
                     it: it must accept DNS for the addresses of this node"
                );
            }
            self.tool = Some(tool);
        }
        let Some(tool) = &mut self.tool else {
            return Ok(());
        };
        let shown = tool.read().await?;
        if self.known.as_ref() == Some(&shown) {
            return Ok(());
        }
        tool.load(&self.rules).await?;
        let shown = tool.read().await?;
        // Every rule has a comment, and nothing else has it.
        let found = shown.matches(rules::COMMENT).count();
        if found != self.rules.len() {
            return Err(FirewallError::NotSet {
                tool: tool.to_string(),
                found,
                expected: self.rules.len(),
            });
        }
        info!("Added back nodelocaldns rules - {found} by {tool}");
        let is_first = self.known.replace(shown).is_none();
        if is_first {
            // What an instance has set that had another program for it, and
            // nobody would remove.
            for mut other in detect::others(tool, self.is_ipv6).await {
                if other.read().await.is_ok_and(|shown| !shown.is_empty()) {
                    info!("Removing rules that were set by {other}");
                    other.remove().await?;
                }
            }
        }
        Ok(())
    }

    /// Lets conntrack see again what comes in, and with it those whose rules
    /// lead it elsewhere. Answers leave as before. Does nothing where this has
    /// set no rules.
    ///
    /// # Errors
    ///
    /// When that cannot be done. Then the rules are as they were.
    pub async fn release(&mut self) -> Result<(), FirewallError> {
        let Some(tool) = &mut self.tool else {
            return Ok(());
        };
        self.known = None;
        let kept = self.rules.iter().filter(|rule| !rule.is_for_queries());
        tool.load(&kept.copied().collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Removes the rules, and all that was made for them.
    ///
    /// # Errors
    ///
    /// When that cannot be done.
    pub async fn remove(&mut self) -> Result<(), FirewallError> {
        self.known = None;
        let mut tool = match self.tool.take() {
            Some(tool) => tool,
            // Rules may be there from an earlier life.
            None => match detect::tool(self.choice, self.is_ipv6).await {
                Err(FirewallError::Missing(_)) => return Ok(()),
                found => found?,
            },
        };
        let removed = tool.remove().await;
        if removed.is_err() {
            // To be tried again, by what knows what it has made.
            self.tool = Some(tool);
        }
        Ok(removed?)
    }
}

impl Tool {
    /// How our rules read now; empty where there are none.
    async fn read(&self) -> Result<String, CommandError> {
        match self {
            Self::Nft(nft) => nft.read().await,
            Self::Iptables(iptables) => iptables.read().await,
        }
    }

    /// Sets all of them, whatever is there, at once.
    async fn load(&mut self, rules: &[Rule]) -> Result<(), CommandError> {
        match self {
            Self::Nft(nft) => nft.load(rules).await,
            Self::Iptables(iptables) => iptables.load(rules).await,
        }
    }

    async fn remove(&mut self) -> Result<(), CommandError> {
        match self {
            Self::Nft(nft) => nft.remove().await,
            Self::Iptables(iptables) => iptables.remove().await,
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nft(nft) => nft.fmt(f),
            Self::Iptables(iptables) => iptables.fmt(f),
        }
    }
}
