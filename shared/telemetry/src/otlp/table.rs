//! The table of metrics as an OTLP request: sums and histograms since the process began.

use nightshift_time::{Clock, SystemClock};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::SCOPE;
use crate::metrics::{self, Cells, Family};

/// Since process start.
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Whose metrics they are, and since when they are counted.
#[derive(Debug)]
pub(super) struct Table {
    resource: Resource,
    began: u64,
}

impl Table {
    pub(super) fn new(resource: &opentelemetry_sdk::Resource) -> Self {
        let attributes = resource
            .iter()
            .map(|(name, value)| attribute(name.as_str(), value.as_str().into_owned()));
        let resource = Resource {
            attributes: attributes.collect(),
            ..Resource::default()
        };
        Self {
            resource,
            began: nanos_now(),
        }
    }

    /// Everything that is counted, as it is now.
    pub(super) fn encode(&self) -> Vec<u8> {
        let now = nanos_now();
        let metrics = metrics::families().into_iter();
        let metrics = metrics.map(|family| self.metric(family, now));
        let scope = ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: SCOPE.to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics: metrics.collect(),
            ..ScopeMetrics::default()
        };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![scope],
                ..ResourceMetrics::default()
            }],
        };
        request.encode_to_vec()
    }

    fn metric(&self, family: Family, now: u64) -> Metric {
        let labels = family.labels;
        let attributes = |values: Vec<String>| {
            let pairs = labels.iter().zip(values);
            pairs.map(|(name, value)| attribute(name, value)).collect()
        };
        let data = match family.cells {
            Cells::Counts(cells) => Data::Sum(Sum {
                data_points: cells
                    .into_iter()
                    .map(|(values, count)| NumberDataPoint {
                        attributes: attributes(values),
                        start_time_unix_nano: self.began,
                        time_unix_nano: now,
                        value: Some(number_data_point::Value::AsInt(
                            i64::try_from(count).unwrap_or(i64::MAX),
                        )),
                        ..NumberDataPoint::default()
                    })
                    .collect(),
                aggregation_temporality: CUMULATIVE,
                is_monotonic: true,
            }),
            Cells::Numbers(cells) => Data::Gauge(Gauge {
                data_points: cells
                    .into_iter()
                    .map(|(values, number)| NumberDataPoint {
                        attributes: attributes(values),
                        time_unix_nano: now,
                        value: Some(number_data_point::Value::AsDouble(number)),
                        ..NumberDataPoint::default()
                    })
                    .collect(),
            }),
            Cells::Times(cells) => Data::Histogram(Histogram {
                data_points: cells
                    .into_iter()
                    .map(|(values, times)| HistogramDataPoint {
                        attributes: attributes(values),
                        start_time_unix_nano: self.began,
                        time_unix_nano: now,
                        count: times.count,
                        sum: Some(times.seconds),
                        bucket_counts: times.buckets,
                        explicit_bounds: metrics::BOUNDS.to_vec(),
                        ..HistogramDataPoint::default()
                    })
                    .collect(),
                aggregation_temporality: CUMULATIVE,
            }),
        };
        Metric {
            name: family.name.to_owned(),
            description: family.help.to_owned(),
            unit: family.unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        }
    }
}

fn attribute(name: &str, value: String) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value)),
        }),
        ..KeyValue::default()
    }
}

fn nanos_now() -> u64 {
    let nanos = SystemClock.now().timestamp_nanos_opt();
    nanos
        .and_then(|nanos| u64::try_from(nanos).ok())
        .unwrap_or(0)
}
