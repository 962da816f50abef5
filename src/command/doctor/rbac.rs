//! What the replicas' service account may do, against what the Corefile needs.

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

use super::Options;
use super::cluster::{Cluster, Facts, Known};
use super::finding::Finding;
use crate::plugin::kubernetes::{model::Kind, watched};

/// What a watch of a collection takes.
const VERBS: [&str; 2] = ["list", "watch"];

pub(super) async fn check(cluster: &Cluster, facts: &Facts, options: &Options) -> Vec<Finding> {
    let Some(template) = facts.template() else {
        let why = facts.pods.as_ref().err().map(ToString::to_string);
        let why = why
            .unwrap_or_else(|| "there is no Pod of the cluster DNS, and no Deployment".to_owned());
        return vec![Finding::not_checked(why)];
    };
    let account = template
        .service_account_name
        .as_deref()
        .filter(|name| !name.is_empty());
    let account = account.unwrap_or("default");
    let Some(reading) = facts.reading() else {
        return vec![Finding::not_checked(
            "there is no Corefile that can be read",
        )];
    };
    let mut kinds: Vec<Kind> = Vec::new();
    let mut elsewhere = false;
    for (block, directive) in reading.directives("kubernetes") {
        match watched(directive, block) {
            Ok(Some(more)) => kinds.extend(more),
            Ok(None) => elsewhere = true,
            // The check of the Corefile says it.
            Err(_) => {}
        }
    }
    kinds.sort_unstable();
    let mut needed: Vec<(&str, &str)> = kinds
        .iter()
        .map(|kind| (kind.group(), kind.resource()))
        .collect();
    needed.dedup();
    if needed.is_empty() {
        let what = match elsewhere {
            true => "the Corefile names other credentials: the service account is not used",
            false => "the Corefile needs nothing of the API server",
        };
        return vec![Finding::info(what)];
    }
    let user = format!("system:serviceaccount:{}:{account}", options.namespace);
    let (namespace, user) = (&*options.namespace, &*user);
    let asked = needed.iter().flat_map(|(group, resource)| {
        VERBS.map(|verb| async move {
            let allowed = allowed(cluster, namespace, user, verb, group, resource).await;
            (verb, *group, *resource, allowed)
        })
    });
    judge(account, &join_all(asked).await)
}

async fn allowed(
    cluster: &Cluster,
    namespace: &str,
    user: &str,
    verb: &str,
    group: &str,
    resource: &str,
) -> Known<bool> {
    let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            groups: Some(
                [
                    &groups[..],
                    &[format!("system:serviceaccounts:{namespace}")],
                ]
                .concat(),
            ),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews = Api::<SubjectAccessReview>::all(cluster.client.clone());
    let answered = cluster
        .ask(reviews.create(&PostParams::default(), &review))
        .await?;
    Ok(answered.status.is_some_and(|status| status.allowed))
}

fn judge(account: &str, asked: &[(&str, &str, &str, Known<bool>)]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut may_not: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for (verb, group, resource, allowed) in asked {
        match allowed {
            Ok(true) => {}
            Ok(false) => match may_not
                .iter_mut()
                .find(|(g, r, _)| g == group && r == resource)
            {
                Some((_, _, verbs)) => verbs.push(verb),
                None => may_not.push((group, resource, vec![verb])),
            },
            Err(why) if found.is_empty() => found.push(Finding::not_checked(why)),
            Err(_) => {}
        }
    }
    for (group, resource, verbs) in may_not {
        let what = format!(
            "ServiceAccount {account} may not {} {resource}",
            verbs.join(" or ")
        );
        let group = if group.is_empty() { "\"\"" } else { group };
        let advice = format!(
            "bind a ClusterRole with apiGroups: [{group}], resources: [{resource}], verbs: [list, watch]; without, the replicas do not get ready"
        );
        found.push(Finding::error(what).advise(advice));
    }
    if found.is_empty() {
        let mut resources: Vec<&str> = asked.iter().map(|(_, _, resource, _)| *resource).collect();
        resources.dedup();
        found.push(Finding::ok(format!(
            "ServiceAccount {account} may list and watch {}",
            resources.join(", ")
        )));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::cluster::Unknown;

    #[test]
    fn a_missing_verb_is_named() {
        let asked = |watch: Known<bool>| {
            [
                ("list", "", "services", Ok(true)),
                ("watch", "", "services", Ok(true)),
                ("list", "discovery.k8s.io", "endpointslices", Ok(true)),
                ("watch", "discovery.k8s.io", "endpointslices", watch),
            ]
        };
        for (watch, want) in [
            (
                Ok(true),
                "ServiceAccount coredns may list and watch services, endpointslices",
            ),
            (
                Ok(false),
                "ServiceAccount coredns may not watch endpointslices",
            ),
            (Err(Unknown::Forbidden("forbidden".to_owned())), "forbidden"),
        ] {
            let found = judge("coredns", &asked(watch));
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].what, want);
        }
    }
}
