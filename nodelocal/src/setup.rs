//! What the agent does to its node: interface and packet rules.

use std::sync::Arc;

use tracing::{error, info};

use crate::errors::{ErrorType, SetupErrors};
use crate::firewall::Firewall;
use crate::flags::Flags;
use crate::interface::Interface;

/// The node's part of the agent. What fails is logged, when it is something
/// else than the last time, and counted.
#[derive(Debug)]
pub struct Setup {
    interface: Option<Interface>,
    firewall: Option<Firewall>,
    errors: Arc<SetupErrors>,
    said: Vec<String>,
}

impl Setup {
    /// Does nothing yet.
    pub fn new(flags: &Flags, errors: Arc<SetupErrors>) -> Self {
        let interface = || Interface::new(&flags.interface_name, &flags.local_ips);
        let firewall = || {
            let (port, health_port) = (flags.port, flags.health_port);
            Firewall::new(flags.firewall, &flags.local_ips, port, health_port)
        };
        Self {
            interface: flags.setup_interface.then(interface),
            firewall: flags.setup_iptables.then(firewall),
            errors,
            said: Vec::new(),
        }
    }

    /// Puts everything in place that is not; to be called as soon as the server
    /// answers and then from time to time.
    ///
    /// The addresses come first: as long as they are not here, what is sent to
    /// them may need conntrack to get where it is answered.
    pub async fn ensure(&mut self) {
        let mut trouble = Vec::new();
        if let Some(interface) = &mut self.interface
            && let Err(errors) = interface.ensure()
        {
            trouble.extend(errors.iter().map(|error| (error.kind(), error.to_string())));
        }
        if let Some(firewall) = &mut self.firewall
            && let Err(error) = firewall.ensure().await
        {
            trouble.push((error.kind(), error.to_string()));
        }
        self.tell(trouble);
    }

    /// Takes away what leads queries here, so that they get where they got
    /// before; to be called while the server still answers, and
    /// [`Self::remove`] once it has answered the last one.
    ///
    /// Without the rules that let answers out untracked, conntrack would take
    /// those for connections of their own, change their port, and keep later
    /// queries of the same client from being redirected.
    pub async fn release(&mut self) {
        let mut trouble = Vec::new();
        if let Some(firewall) = &mut self.firewall
            && let Err(error) = firewall.release().await
        {
            let text = format!("Failed deleting iptables rules: {error}");
            trouble.push((error.kind(), text));
        }
        self.tell(trouble);
    }

    /// Takes everything away that is ours.
    pub async fn remove(&mut self) {
        info!("Tearing down");
        let mut trouble = Vec::new();
        if let Some(firewall) = &mut self.firewall
            && let Err(error) = firewall.remove().await
        {
            let text = format!("Failed deleting iptables rules: {error}");
            trouble.push((error.kind(), text));
        }
        if let Some(interface) = &mut self.interface
            && let Err(error) = interface.remove()
        {
            trouble.push((error.kind(), error.to_string()));
        }
        self.tell(trouble);
    }

    fn tell(&mut self, trouble: Vec<(ErrorType, String)>) {
        let said = std::mem::take(&mut self.said);
        for (kind, text) in trouble {
            self.errors.count(kind);
            if !said.contains(&text) {
                error!("{text}");
            }
            self.said.push(text);
        }
    }
}
