//! What every long-running process has, whatever its roles: configuration, telemetry, a stop signal
//! and one HTTP port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use runtime::admin::{self, AdminState, Readiness};
use runtime::clock::{SharedClock, SystemClock};
use runtime::http;
use runtime::shutdown::{Shutdown, Tasks};
use runtime::telemetry::{self, Metric, MetricsHandle};
use tokio::net::TcpListener;
use tracing::warn;

use crate::cli::ProcessArgs;
use crate::config::{Config, Overrides};
use crate::stage::Stage;
use crate::{roles, standalone};

/// Time for what is left when everything that matters has been drained.
const JOIN_DEADLINE: Duration = Duration::from_secs(15);

/// Time for threads that still compute something nobody waits for.
const RUNTIME_DEADLINE: Duration = Duration::from_secs(2);

/// Metrics of every crate: whichever roles run, the tables are the same everywhere.
const METRICS: [&[Metric]; 5] = [
    collector::telemetry::METRICS,
    indexer::telemetry::METRICS,
    query::telemetry::METRICS,
    queue::telemetry::METRICS,
    segment::telemetry::METRICS,
];

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Standalone,
    Collector,
    Indexer,
    Query,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Collector => "collector",
            Self::Indexer => "indexer",
            Self::Query => "query",
        }
    }
}

/// Runs a role until it is told to stop or fails.
pub(crate) fn start(role: Role, args: &ProcessArgs) -> anyhow::Result<()> {
    let config = configuration(role, args)?;
    telemetry::logging(&config.file.log).context("set up logging")?;
    for key in &config.ignored_keys {
        warn!(key, "unknown configuration key ignored");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let done = runtime.block_on(run(role, config));
    runtime.shutdown_timeout(RUNTIME_DEADLINE);
    done
}

fn configuration(role: Role, args: &ProcessArgs) -> anyhow::Result<Config> {
    let overrides = Overrides { data_dir: args.data_dir.clone(), listen: args.listen.clone() };
    let config = match (&args.config, role) {
        (Some(path), _) => Config::read(path, args.ignore_unknown_config, &overrides)?,
        (None, Role::Standalone) => Config::without_file(&overrides)?,
        (None, _) => {
            bail!("the {0} needs --config FILE; config/{0}.yaml explains every key", role.name())
        }
    };
    if role == Role::Standalone { standalone::fill_in(config) } else { Ok(config) }
}

async fn run(role: Role, config: Config) -> anyhow::Result<()> {
    let process = Process::open(config)?;
    match role {
        Role::Standalone => standalone::run(&process).await?,
        Role::Collector => roles::collector(&process).await?,
        Role::Indexer => roles::indexer(&process).await?,
        Role::Query => roles::query(&process).await?,
    }
    process.shutdown.trigger();
    process.tasks.join(JOIN_DEADLINE).await.context("stop")
}

/// The surroundings of the roles in this process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) config: Config,
    pub(crate) clock: SharedClock,
    /// The wish to stop, by a signal or by a task that failed.
    pub(crate) shutdown: Shutdown,
    pub(crate) tasks: Tasks,
    pub(crate) ready: Readiness,
    metrics: MetricsHandle,
}

impl Process {
    fn open(config: Config) -> anyhow::Result<Self> {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(&shutdown);
        shutdown.on_signals(&tasks).context("listen for signals")?;
        let clock = SystemClock::shared();
        let metrics = telemetry::install(&METRICS);
        let process = Self { config, clock, shutdown, tasks, ready: Readiness::new(), metrics };
        process.watch_itself();
        Ok(process)
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.config.file.data_dir
    }

    /// Opens the port; done first, so that a taken one is reported before anything is touched.
    pub(crate) async fn listen(&self) -> anyhow::Result<Port> {
        let listener = http::bind(&self.config.file.http.listen).await.with_context(
            || "open the HTTP port; is another Millrace running? name another one with --listen",
        )?;
        let address = listener.local_addr().context("read the address of the HTTP port")?;
        let url = |ip: IpAddr| format!("http://{}", SocketAddr::new(ip, address.port()));
        let (local, remote) = match address.ip() {
            // Nobody can connect to `0.0.0.0`: this machine is the loopback, others see its address.
            ip if ip.is_unspecified() => (loopback(ip), outgoing_address().unwrap_or(loopback(ip))),
            ip => (ip, ip),
        };
        Ok(Port { listener, url: url(local), url_for_others: url(remote) })
    }

    /// Returns once somebody wants this process to stop.
    pub(crate) async fn stop_wanted(&self) {
        self.shutdown.token().cancelled().await;
    }

    /// Answers on `port` with `routes` and the admin routes until told to stop.
    pub(crate) fn serve(&self, port: Port, routes: Router) -> Stage {
        let admin = admin::router(AdminState {
            ready: self.ready.clone(),
            metrics: self.metrics.clone(),
            config: Arc::clone(&self.config.effective),
        });
        let limits = self.config.file.http.clone();
        let drain = Duration::from_secs(limits.drain_timeout_secs);
        Stage::spawn("http", &self.tasks, drain, |stop| {
            http::serve(port.listener, routes.merge(admin), limits, stop)
        })
    }

    fn watch_itself(&self) {
        let (clock, token) = (Arc::clone(&self.clock), self.shutdown.token());
        let metrics = self.metrics.clone();
        self.tasks.spawn("metrics-upkeep", async move {
            metrics.upkeep(&*clock, token).await;
        });
        let (clock, token) = (Arc::clone(&self.clock), self.shutdown.token());
        self.tasks.spawn("reactor-watch", async move {
            telemetry::watch_reactor(&*clock, token).await;
        });
    }
}

/// An open HTTP port.
#[derive(Debug)]
pub(crate) struct Port {
    listener: TcpListener,
    /// Base URL for this machine.
    pub(crate) url: String,
    /// Base URL for other machines, as far as this one can know it.
    pub(crate) url_for_others: String,
}

fn loopback(unspecified: IpAddr) -> IpAddr {
    match unspecified {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// Returns the address this machine sends from; `None` when it has no network.
///
/// "Connecting" a datagram socket only asks the routing table: nothing is sent.
fn outgoing_address() -> Option<IpAddr> {
    /// An address for documentation, routed like any other that is not ours.
    const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}
