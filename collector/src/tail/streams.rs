//! The labels of a log's streams, made once per log from its path.

use std::collections::BTreeMap;
use std::path::Path;

use record::service::{SERVICE_NAME, with_service_name};
use record::{Labels, partition_for};

use super::discover::Origin;
use crate::config::CollectorSection;
use crate::parse::Stream;

/// What every stream of this collector has in common.
#[derive(Clone, Debug)]
pub struct NodeLabels {
    shared: BTreeMap<String, String>,
    partitions: u32,
    pod_uid: bool,
}

/// One stream and where its rows go.
#[derive(Clone, Debug)]
pub struct StreamLabels {
    pub labels: Labels,
    pub partition: u32,
}

/// The streams of one log.
#[derive(Clone, Debug)]
pub struct LogStreams {
    /// A plain file's lines; of a container log the lines that name no stream.
    pub raw: StreamLabels,
    /// Stdout and stderr; of a plain file both as `raw`.
    outputs: [StreamLabels; 2],
    /// Value of the `pod_uid` attribute, when wanted.
    pub pod_uid: Option<String>,
    /// The `input` label of metrics.
    pub input: &'static str,
}

impl NodeLabels {
    pub fn new(section: &CollectorSection, partitions: u32) -> Self {
        let mut shared = section.labels.clone();
        shared.insert("node".to_owned(), section.node_name());
        if !section.cluster.is_empty() {
            shared.insert("cluster".to_owned(), section.cluster.clone());
        }
        Self { shared, partitions, pod_uid: section.tail.pod_uid }
    }

    /// Returns the streams of the log with this live path.
    pub fn streams(&self, path: &Path, origin: &Origin) -> LogStreams {
        let mut labels = Labels::from_pairs(&self.shared);
        let filename = path.to_string_lossy();
        let input = match origin {
            Origin::Pod(pod) => {
                labels = labels
                    .with("namespace", &pod.namespace)
                    .with("pod", &pod.pod)
                    .with("container", &pod.container);
                "pods"
            }
            Origin::Plain => {
                let stem = path.file_stem().map(|stem| stem.to_string_lossy());
                labels = labels.with("filename", &filename).with("job", "files");
                if labels.get(SERVICE_NAME).is_none() {
                    labels = labels.with(SERVICE_NAME, &stem.unwrap_or_default());
                }
                "files"
            }
            Origin::Own => {
                labels = labels.with("filename", &filename).with("job", "millrace");
                "files"
            }
        };
        let pod_uid = match origin {
            Origin::Pod(pod) if self.pod_uid => Some(pod.uid.clone()),
            _ => None,
        };
        let raw = self.stream(with_service_name(&labels));
        let outputs = match origin {
            Origin::Pod(_) => {
                Stream::ALL.map(|stream| self.stream(raw.labels.with("stream", stream.name())))
            }
            _ => [raw.clone(), raw.clone()],
        };
        LogStreams { raw, outputs, pod_uid, input }
    }

    fn stream(&self, labels: Labels) -> StreamLabels {
        let partition = partition_for(labels.hash64(), self.partitions);
        StreamLabels { labels, partition }
    }
}

impl LogStreams {
    pub fn output(&self, stream: Stream) -> &StreamLabels {
        &self.outputs[stream.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::discover::PodLog;

    #[test]
    fn labels_come_from_the_path() {
        let section = CollectorSection {
            node: "n1".to_owned(),
            cluster: "c1".to_owned(),
            labels: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
            ..CollectorSection::default()
        };
        let node = NodeLabels::new(&section, 4);
        let pod = Origin::Pod(PodLog {
            namespace: "shop".to_owned(),
            pod: "web-1".to_owned(),
            uid: "0-1".to_owned(),
            container: "app".to_owned(),
        });
        let streams = node.streams(Path::new("/var/log/pods/shop_web-1_0-1/app/0.log"), &pod);
        assert_eq!(
            streams.output(Stream::Stderr).labels.to_string(),
            r#"{cluster="c1", container="app", namespace="shop", node="n1", pod="web-1", service_name="app", stream="stderr", team="blue"}"#
        );
        assert_eq!(streams.raw.labels.get("stream"), None);
        let plain = node.streams(Path::new("/var/log/dpkg.log"), &Origin::Plain);
        assert_eq!(
            plain.raw.labels.to_string(),
            r#"{cluster="c1", filename="/var/log/dpkg.log", job="files", node="n1", service_name="dpkg", team="blue"}"#
        );
        let own = node.streams(Path::new("/data/self.txt"), &Origin::Own);
        assert_eq!(own.raw.labels.get("service_name"), Some("millrace"));
    }
}
