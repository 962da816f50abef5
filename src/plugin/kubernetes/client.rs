//! The way to the API server: where it is, who we are, and one connection
//! for each request that lasts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::{BoxError, ServiceExt};

use super::store::Observer;

/// Where a pod finds its credentials.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Without a peer a connect fails after this long. In a cluster an answer to
/// a SYN takes milliseconds.
const CONNECT: Duration = Duration::from_secs(2);

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// From a pod: its service account.
    InCluster {
        /// `KUBERNETES_SERVICE_HOST`.
        host: String,
        /// `KUBERNETES_SERVICE_PORT`.
        port: String,
        /// Where `token` and `ca.crt` lie.
        credentials: PathBuf,
    },
    /// `kubeconfig FILE [CONTEXT]`.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// A context other than the file's current one.
        context: Option<String>,
    },
    /// `endpoint URL`.
    Endpoint {
        /// The server's URL.
        url: String,
        /// `tls CERT KEY CACERT`.
        tls: Option<Tls>,
    },
}

/// Files of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Who signs the server's certificate, PEM.
    pub ca: PathBuf,
}

/// Why the API server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Not in a pod.
    #[error(
        "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
    )]
    NotInCluster,
    /// A file that cannot be read.
    #[error("open {}: {}", path.display(), corefile::io_message(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A kubeconfig that is not there.
    #[error("stat {}: {}", path.display(), corefile::io_message(source))]
    Stat {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Files of a client certificate that cannot be read.
    #[error("invalid configuration: {0}")]
    Tls(String),
    /// A URL that is none.
    #[error("{url:?} is no URL of an API server: {reason}")]
    Url {
        /// What was written.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A kubeconfig that does not say what is needed.
    #[error("{}: {source}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<kube::config::KubeconfigError>,
    },
    /// A context that the kubeconfig does not have.
    #[error("context {context:?} does not exist")]
    Context {
        /// The context.
        context: String,
    },
    /// Certificates or tokens that cannot be used.
    #[error(transparent)]
    Client(#[from] Box<kube::Error>),
}

impl Tls {
    /// Whether all files can be read, in client-go's words.
    fn check(&self) -> Result<(), AccessError> {
        let files = [
            ("client-cert", &self.cert),
            ("client-key", &self.key),
            ("certificate-authority", &self.ca),
        ];
        let faults: Vec<String> = files
            .into_iter()
            .filter_map(|(what, path)| {
                let error = read(path.clone()).err()?;
                Some(format!(
                    "unable to read {what} {} for  due to {error}",
                    path.display()
                ))
            })
            .collect();
        match &*faults {
            [] => Ok(()),
            [only] => Err(AccessError::Tls(only.clone())),
            _ => Err(AccessError::Tls(format!("[{}]", faults.join(", ")))),
        }
    }
}

impl Access {
    /// From a pod, given its environment.
    pub fn in_cluster(var: impl Fn(&str) -> Option<String>) -> Result<Self, AccessError> {
        let set = |name| var(name).filter(|value| !value.is_empty());
        match (
            set("KUBERNETES_SERVICE_HOST"),
            set("KUBERNETES_SERVICE_PORT"),
        ) {
            (Some(host), Some(port)) => Ok(Self::InCluster {
                host,
                port,
                credentials: SERVICE_ACCOUNT.into(),
            }),
            _ => Err(AccessError::NotInCluster),
        }
    }

    /// Finds what can be found wrong before the first request.
    pub(super) fn check(&self) -> Result<(), AccessError> {
        match self {
            Self::InCluster { credentials, .. } => {
                read(credentials.join("token"))?;
                self.url().map(drop)
            }
            Self::Endpoint { tls, .. } => {
                tls.as_ref().map_or(Ok(()), Tls::check)?;
                self.url().map(drop)
            }
            Self::Kubeconfig { path, context } => {
                std::fs::metadata(path).map_err(|source| AccessError::Stat {
                    path: path.clone(),
                    source,
                })?;
                let file = self.kubeconfig(path)?;
                match context.as_ref().or(file.current_context.as_ref()) {
                    Some(wanted) if file.contexts.iter().all(|c| c.name != *wanted) => {
                        Err(AccessError::Context {
                            context: wanted.clone(),
                        })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// A client for requests now and then.
    ///
    /// # Errors
    ///
    /// What can be found wrong before the first request.
    pub async fn client(&self) -> Result<kube::Client, AccessError> {
        self.check()?;
        let config = self.load().await?;
        Ok(connect(&config).map_err(Box::new)?)
    }

    fn url(&self) -> Result<hyper::Uri, AccessError> {
        let url = match self {
            Self::InCluster { host, port, .. } if host.contains(':') => {
                format!("https://[{host}]:{port}")
            }
            Self::InCluster { host, port, .. } => format!("https://{host}:{port}"),
            Self::Endpoint { url, .. } if url.contains("://") => url.clone(),
            // As client-go: a bare host and port is asked in the clear.
            Self::Endpoint { url, .. } => format!("http://{url}"),
            Self::Kubeconfig { .. } => String::new(),
        };
        url.parse()
            .map_err(|error: hyper::http::uri::InvalidUri| AccessError::Url {
                url,
                reason: error.to_string(),
            })
    }

    fn kubeconfig(&self, path: &std::path::Path) -> Result<Kubeconfig, AccessError> {
        Kubeconfig::read_from(path).map_err(|source| AccessError::Kubeconfig {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Reads every file anew.
    async fn load(&self) -> Result<kube::Config, AccessError> {
        let mut config = match self {
            Self::InCluster { credentials, .. } => {
                let mut config = kube::Config::new(self.url()?);
                let token = credentials.join("token");
                read(token.clone())?;
                config.auth_info.token_file = Some(token.display().to_string());
                config.root_cert_file = Some(credentials.join("ca.crt"));
                config
            }
            Self::Endpoint { tls, .. } => {
                let mut config = kube::Config::new(self.url()?);
                if let Some(tls) = tls {
                    config.auth_info.client_certificate = Some(tls.cert.display().to_string());
                    config.auth_info.client_key = Some(tls.key.display().to_string());
                    config.root_cert_file = Some(tls.ca.clone());
                }
                config
            }
            Self::Kubeconfig { path, context } => {
                let options = KubeConfigOptions {
                    context: context.clone(),
                    ..Default::default()
                };
                let file = self.kubeconfig(path)?;
                let loaded = kube::Config::from_custom_kubeconfig(file, &options).await;
                loaded.map_err(|source| AccessError::Kubeconfig {
                    path: path.clone(),
                    source: Box::new(source),
                })?
            }
        };
        // What to do about a failure is decided where the request is made.
        config.default_retry = false;
        Ok(config)
    }
}

fn read(path: PathBuf) -> Result<(), AccessError> {
    match std::fs::File::open(&path) {
        Ok(_) => Ok(()),
        Err(source) => Err(AccessError::Read { path, source }),
    }
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("{0}")]
    Request(String),
}

/// Asks the API server.
pub(super) struct Api {
    access: Access,
    user_agent: HeaderValue,
    client: Mutex<Option<Connected>>,
    observer: Arc<dyn Observer>,
}

#[derive(Clone)]
struct Connected {
    client: kube::Client,
    host: Arc<str>,
}

impl Api {
    pub(super) fn new(
        access: Access,
        user_agent: &str,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, AccessError> {
        access.check()?;
        let user_agent = HeaderValue::from_str(user_agent);
        let user_agent = user_agent.unwrap_or(HeaderValue::from_static("Pando"));
        Ok(Self {
            access,
            user_agent,
            client: Mutex::new(None),
            observer,
        })
    }

    /// Requests `path` (with its query); the body is not read yet.
    pub(super) async fn get(&self, path: &str) -> Result<hyper::Response<Body>, ApiError> {
        let Connected { client, host } = self.connected().await?;
        let request = hyper::Request::get(path)
            .header(USER_AGENT, self.user_agent.clone())
            .header(hyper::header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|error| ApiError::Request(error.to_string()))?;
        let begun = Instant::now();
        let response = client.send(request).await;
        let code = response
            .as_ref()
            .ok()
            .map(|response| response.status().as_u16());
        self.observer.requested("GET", &host, code, begun.elapsed());
        response.map_err(|error| ApiError::Request(chain(&error)))
    }

    /// Makes the next request read the credentials anew.
    pub(super) async fn refresh(&self) {
        *self.client.lock().await = None;
    }

    async fn connected(&self) -> Result<Connected, AccessError> {
        let mut slot = self.client.lock().await;
        if let Some(connected) = &*slot {
            return Ok(connected.clone());
        }
        let config = self.access.load().await?;
        let host = config
            .cluster_url
            .authority()
            .map_or("", |authority| authority.as_str())
            .into();
        let client = connect(&config).map_err(Box::new)?;
        let connected = Connected { client, host };
        *slot = Some(connected.clone());
        Ok(connected)
    }
}

/// As kube's own stack, with a connector that notices a peer that vanished.
/// A watch only reads, so nothing but probes of ours can tell.
fn connect(config: &kube::Config) -> Result<kube::Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(Duration::from_secs(5)));
    tcp.set_keepalive_interval(Some(Duration::from_secs(2)));
    tcp.set_keepalive_retries(Some(3));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(Duration::from_secs(11)));
    let https = config.rustls_https_connector_with_connector(tcp)?;
    let mut builder = HttpClient::builder(TokioExecutor::new());
    builder
        .pool_idle_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(1);
    let http = builder.build::<_, Body>(https).map_err(BoxError::from);
    let service = ClientBuilder::new(http, "default")
        .with_layer(&config.base_uri_layer())
        .with_layer(&config.extra_headers_layer()?);
    Ok(match config.auth_layer()? {
        Some(auth) => service.with_layer(&auth).build(),
        None => service.build(),
    })
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        move |name| {
            pairs
                .iter()
                .find(|(k, _)| k == name)
                .map(|(_, v)| v.clone())
        }
    }

    #[test]
    fn a_pod_is_known_by_its_environment() {
        for vars in [
            &[][..],
            &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")],
            &[("KUBERNETES_SERVICE_PORT", "443")],
        ] {
            let error = Access::in_cluster(env(vars)).expect_err("not in a pod");
            assert_eq!(
                error.to_string(),
                "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
            );
        }
        for (host, url) in [
            ("10.0.0.1", "https://10.0.0.1:443/"),
            ("fd00::1", "https://[fd00::1]:443/"),
        ] {
            let vars = [
                ("KUBERNETES_SERVICE_HOST", host),
                ("KUBERNETES_SERVICE_PORT", "443"),
            ];
            let access = Access::in_cluster(env(&vars)).expect("in a pod");
            assert_eq!(access.url().expect("valid").to_string(), url);
        }
    }

    #[test]
    fn what_is_missing_is_said_before_the_first_request() {
        let missing = PathBuf::from("/nonexistent/config");
        for (access, want) in [
            (
                Access::Kubeconfig {
                    path: missing.clone(),
                    context: None,
                },
                "stat /nonexistent/config: no such file or directory",
            ),
            (
                Access::Endpoint {
                    url: "https://10.0.0.1".into(),
                    tls: Some(Tls {
                        cert: missing.clone(),
                        key: missing.clone(),
                        ca: missing.clone(),
                    }),
                },
                "invalid configuration: [unable to read client-cert /nonexistent/config for  due to open /nonexistent/config: no such file or directory, ",
            ),
            (
                Access::Endpoint {
                    url: "http://a b".into(),
                    tls: None,
                },
                "\"http://a b\" is no URL",
            ),
            (
                Access::InCluster {
                    host: "10.0.0.1".into(),
                    port: "443".into(),
                    credentials: missing,
                },
                "open /nonexistent/config/token: no such file or directory",
            ),
        ] {
            let error = access.check().expect_err("refused").to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
