//! Collector, indexer and query as separate processes on a real broker and a real S3 server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::TryStreamExt;
use object_store::ObjectStore;
use runtime::config::Secret;
use segment::store::{S3Section, StoreSection};

use super::kafka::Kafka;
use super::millrace::{Role, Usage, free_port};
use super::s3::S3;
use crate::loki::Loki;

/// Time for a role to come up or, when stopped, to publish all it holds.
pub const ROLE_DEADLINE: Duration = Duration::from_secs(90);

/// The three roles and what they stand on. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Deployment {
    /// Tails the pods of [`Deployment::pods`].
    pub collector: Role,
    /// Publishes to the S3 server.
    pub indexer: Role,
    /// Answers [`Deployment::loki`].
    pub query: Role,
    /// The broker.
    pub kafka: Kafka,
    /// The object store.
    pub s3: S3,
    store: Arc<dyn ObjectStore>,
    loki: Loki,
    pods: PathBuf,
    binary: PathBuf,
    folder: PathBuf,
    settings: String,
}

impl Deployment {
    /// Starts everything with its data below `folder`; `settings` is YAML added to every role's
    /// configuration file, for the sections `indexer` and `query`.
    ///
    /// # Errors
    /// When something does not come up; the error holds the end of its log.
    pub async fn start(binary: &Path, folder: &Path, settings: &str) -> anyhow::Result<Self> {
        Self::start_on(Kafka::start(&folder.join("kafka"))?, binary, folder, settings).await
    }

    /// As [`Self::start`], on a broker that runs already, such as one with topics of its own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on(
        kafka: Kafka,
        binary: &Path,
        folder: &Path,
        settings: &str,
    ) -> anyhow::Result<Self> {
        let s3 = S3::start(&folder.join("s3"))?;
        let pods = folder.join("pods");
        std::fs::create_dir_all(&pods).context("create pod folder")?;
        let role = |name: &str| -> anyhow::Result<Role> {
            let port = free_port()?;
            let text = configuration(name, port, folder, &kafka, &s3, &pods) + settings;
            let config = folder.join(format!("{name}.yaml"));
            std::fs::write(&config, text).context("write configuration")?;
            Role::start(binary, name, &config, port, folder)
        };
        let (collector, indexer, query) = (role("collector")?, role("indexer")?, role("query")?);
        let loki = Loki::new(query.address());
        let store = open_store(&s3, folder)?;
        let (folder, settings) = (folder.to_owned(), settings.to_owned());
        let binary = binary.to_owned();
        let mut deployment = Self {
            collector,
            indexer,
            query,
            kafka,
            s3,
            store,
            loki,
            pods,
            binary,
            folder,
            settings,
        };
        deployment.ready().await?;
        Ok(deployment)
    }

    /// Waits until every role says it is ready.
    ///
    /// # Errors
    /// When one ends or stays unready.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        for role in [&mut self.collector, &mut self.indexer, &mut self.query] {
            role.ready(ROLE_DEADLINE).await?;
        }
        Ok(())
    }

    /// Starts one more indexer in the same groups; `name` is its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn another_indexer(&self, name: &str) -> anyhow::Result<Role> {
        let port = free_port()?;
        let text = configuration(name, port, &self.folder, &self.kafka, &self.s3, &self.pods);
        let config = self.folder.join(format!("{name}.yaml"));
        std::fs::write(&config, text + &self.settings).context("write configuration")?;
        Role::start(&self.binary, "indexer", &config, port, &self.folder)
    }

    /// The pod log root the collector reads.
    pub fn pods(&self) -> &Path {
        &self.pods
    }

    /// A client of the query role.
    pub fn loki(&self) -> &Loki {
        &self.loki
    }

    /// The object store the roles share, below the prefix they use.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// Stops the indexer, which publishes all it holds, and starts it again. Returns what it
    /// had used by then.
    ///
    /// # Errors
    /// When it does not stop or come back in time.
    pub async fn publish_all(&mut self) -> anyhow::Result<Usage> {
        let (status, used) = self.indexer.terminate(ROLE_DEADLINE).await?;
        ensure!(status.success(), "indexer ended with {status}:\n{}", self.indexer.log());
        self.indexer.restart()?;
        self.ready().await?;
        Ok(used)
    }

    /// Bytes of all objects stored, segments and catalog.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn stored_bytes(&self) -> anyhow::Result<u64> {
        let sizes = self.store.list(None).map_ok(|object| object.size);
        Ok(sizes.try_fold(0, async |sum, size| Ok(sum + size)).await?)
    }
}

/// Objects of each deployment stand below the name of its folder.
fn prefix(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn open_store(s3: &S3, folder: &Path) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let section = StoreSection::S3(S3Section {
        bucket: s3.bucket.clone(),
        prefix: prefix(folder),
        endpoint: Some(s3.endpoint.clone()),
        region: Some("us-east-1".to_owned()),
        access_key_id: Some(s3.access_key.clone()),
        secret_access_key: Some(Secret::new(&s3.secret_key)),
        path_style: true,
        retry: Default::default(),
    });
    Ok(segment::store::open(&section, folder)?)
}

fn configuration(
    role: &str,
    port: u16,
    folder: &Path,
    kafka: &Kafka,
    s3: &S3,
    pods: &Path,
) -> String {
    let data_dir = folder.join(role);
    format!(
        r#"
data_dir: {data_dir:?}
http:
  listen: 127.0.0.1:{port}
queue:
  type: kafka
  bootstrap_servers: "{bootstrap_servers}"
  session_timeout_ms: 6000
  group_instance_id: "{role}"
store:
  type: s3
  bucket: "{bucket}"
  prefix: "{prefix}"
  endpoint: "{endpoint}"
  region: us-east-1
  access_key_id: "{access_key}"
  secret_access_key: "{secret_key}"
collector:
  node: node-1
  tail:
    files: []
    pods: {pods:?}
"#,
        bootstrap_servers = kafka.bootstrap_servers,
        bucket = s3.bucket,
        prefix = prefix(folder),
        endpoint = s3.endpoint,
        access_key = s3.access_key,
        secret_key = s3.secret_key,
    )
}
