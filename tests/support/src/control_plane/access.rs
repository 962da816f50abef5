//! Who may do what: kubeconfigs, service accounts, requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use serde_json::{Value, json};

use super::ControlPlane;
use crate::{BOUND, until};

/// A service account with a token on disk, as a pod has it.
#[derive(Clone, Debug)]
pub struct Account {
    /// A kubeconfig that reads the token from [`Self::token`].
    pub kubeconfig: PathBuf,
    /// The file of the token. [`ControlPlane::renew`] writes it anew.
    pub token: PathBuf,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ControlPlane {
    /// Makes (or finds) a service account that may read what `rules` say,
    /// cluster-wide, and mints a token for it. `rules` are those of a
    /// ClusterRole; [`dns_rules`] are CoreDNS's. They are in force when this
    /// returns.
    ///
    /// # Errors
    ///
    /// When the API server refuses.
    pub async fn account(&self, name: &str, rules: &Value) -> anyhow::Result<Account> {
        let namespace = "kube-system";
        let full_name = format!("pando:{name}");
        let rbac = "rbac.authorization.k8s.io";
        let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "apiVersion": "v1", "kind": "ServiceAccount",
              "metadata": { "name": name, "namespace": namespace } },
            { "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole",
              "metadata": { "name": full_name }, "rules": rules },
            { "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding",
              "metadata": { "name": full_name },
              "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": full_name },
              "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": namespace }] },
        ]});
        self.apply(&objects.to_string()).await?;
        self.judges_anew().await?;
        self.account_of(name).await
    }

    /// Waits until the API server judges by the ClusterRoles and bindings that
    /// it has taken so far: it hears of them as any other watcher does.
    async fn judges_anew(&self) -> anyhow::Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pando:probe-{number}");
        let rbac = "rbac.authorization.k8s.io";
        let rule = json!({ "apiGroups": ["pando"], "resources": ["probes"], "verbs": ["get"] });
        let role = json!({ "metadata": { "name": name }, "rules": [rule] });
        let binding = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": name },
            "subjects": [{ "apiGroup": rbac, "kind": "User", "name": name }],
        });
        for (kind, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
            let path = format!("/apis/{rbac}/v1/{kind}");
            self.request("POST", &path, &object).await?;
        }
        let asked = json!({ "spec": {
            "user": name,
            "resourceAttributes": { "group": "pando", "resource": "probes", "verb": "get" },
        }});
        let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        // What is seen of these two is seen of all before them.
        let judged = until("rights are known", BOUND, || async {
            let review = self.request("POST", reviews, &asked).await.ok()?;
            (review["status"]["allowed"] == true).then_some(())
        });
        judged.await?;
        for kind in ["clusterroles", "clusterrolebindings"] {
            let path = format!("/apis/{rbac}/v1/{kind}/{name}");
            self.request("DELETE", &path, &Value::Null).await?;
        }
        Ok(())
    }

    /// The service account `name` of kube-system, which must be there, with a
    /// token for it.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn account_of(&self, name: &str) -> anyhow::Result<Account> {
        let account = Account {
            kubeconfig: self.path(&format!("{name}.kubeconfig")),
            token: self.path(&format!("{name}.token")),
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
        };
        self.renew(&account).await?;
        let authority = self.path("ca.crt");
        let user = json!({ "tokenFile": account.token });
        let cluster = json!({ "server": self.url(), "certificate-authority": authority });
        write_kubeconfig(&account.kubeconfig, cluster, user)?;
        Ok(account)
    }

    /// Mints a new token for an account and puts it in place, as the kubelet
    /// does. The account must exist: after [`ControlPlane::rebuild`] call
    /// [`ControlPlane::account`] again.
    ///
    /// # Errors
    ///
    /// When the API server refuses.
    pub async fn renew(&self, account: &Account) -> anyhow::Result<()> {
        let Account {
            namespace, name, ..
        } = account;
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "expirationSeconds": 3600 },
        });
        let reply = self.request("POST", &path, &body).await?;
        let token = reply["status"]["token"].as_str().context("no token")?;
        let new = account.token.with_extension("new");
        fs::write(&new, token)?;
        Ok(fs::rename(&new, &account.token)?)
    }
}

/// The rules of CoreDNS's ClusterRole.
#[must_use]
pub fn dns_rules() -> Value {
    json!([
        { "apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"],
          "verbs": ["list", "watch"] },
        { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
          "verbs": ["list", "watch"] },
        { "apiGroups": ["multicluster.x-k8s.io"], "resources": ["serviceimports"],
          "verbs": ["list", "watch"] },
    ])
}

/// Writes the administrator's kubeconfig; the certificates lie in `folder`.
pub(super) fn write_admin(path: &Path, url: &str, folder: &Path) -> anyhow::Result<()> {
    let user = json!({
        "client-certificate": folder.join("admin.crt"),
        "client-key": folder.join("admin.key"),
    });
    let cluster = json!({ "server": url, "certificate-authority": folder.join("ca.crt") });
    write_kubeconfig(path, cluster, user)
}

fn write_kubeconfig(path: &Path, cluster: Value, user: Value) -> anyhow::Result<()> {
    // JSON is YAML.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    });
    Ok(fs::write(path, config.to_string())?)
}

/// One request with a JSON body, or none where `body` is null.
pub(super) async fn request(
    client: &kube::Client,
    method: &str,
    path: &str,
    body: &Value,
) -> anyhow::Result<Value> {
    Ok(client.request(http_request(method, path, body)?).await?)
}

pub(super) fn http_request(
    method: &str,
    path: &str,
    body: &Value,
) -> anyhow::Result<hyper::Request<Vec<u8>>> {
    let kind = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = match body {
        Value::Null => Vec::new(),
        body => serde_json::to_vec(body)?,
    };
    let request = hyper::Request::builder().method(method).uri(path);
    Ok(request.header("Content-Type", kind).body(body)?)
}
