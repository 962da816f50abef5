//! Families that are put together at a scrape, from counts that are not kept
//! as series.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto;

/// What a family is called and what its labels are.
pub(crate) fn desc(name: &str, help: &str, labels: &[&str]) -> Desc {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::default())
        .expect("names and labels of our own are valid")
}

/// A counter with these labels, which stand in the order of their names.
pub(super) fn counter(labels: &[(&str, &str)], value: u64) -> proto::Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut counter = proto::Counter::default();
    counter.set_value(value as f64);
    let mut metric = proto::Metric::default();
    metric.set_label(pairs.collect());
    metric.set_counter(counter);
    metric
}

/// A family of counters; `None` while it has none.
pub(super) fn family(desc: &Desc, metrics: Vec<proto::Metric>) -> Option<proto::MetricFamily> {
    if metrics.is_empty() {
        return None;
    }
    let mut family = proto::MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(proto::MetricType::COUNTER);
    family.set_metric(metrics);
    Some(family)
}

/// A family of one gauge without labels.
pub(crate) fn gauge(desc: &Desc, value: f64) -> proto::MetricFamily {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = proto::Metric::default();
    metric.set_gauge(gauge);
    let mut family = proto::MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(proto::MetricType::GAUGE);
    family.set_metric(vec![metric]);
    family
}
