//! A store that fails on request, for tests of everything above it.
//!
//! Faults are those that real stores show: a refused request, one that hangs, an answer that is
//! lost after the work was done, a put that arrives long after its writer gave up, a body that
//! breaks off, a put cut short by a store that does not keep its word.
//!
//! Deterministic: nothing happens on its own; late puts arrive as later requests are made.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use runtime::clock::SharedClock;

/// What is asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Put,
    Get,
    List,
    Delete,
    Copy,
}

/// What goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fails; nothing was done.
    Refuse,
    /// Fails as a local folder on a full disk does; nothing was done.
    DiskFull,
    /// Takes this long, then goes well.
    Delay(Duration),
    /// Never answers; nothing was done.
    Hang,
    /// Is done, but the answer is lost: the caller sees an error.
    LoseAnswer,
    /// A put that fails, and is done all the same after this many further requests.
    ArriveLate { requests: u32 },
    /// A put of which only the first bytes are stored; the caller sees an error.
    TornPut { bytes: usize },
    /// A get whose body fails after this many bytes.
    BreakOff { bytes: usize },
}

/// Chooses faults; shared by a store's user and its test.
#[derive(Clone, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
}

type Chooser = Box<dyn FnMut(Operation, &Path) -> Option<Fault> + Send>;

#[derive(Default)]
struct Plan {
    /// Used up one by one, first match first.
    once: Vec<(Operation, String, Fault)>,
    chooser: Option<Chooser>,
    requests: Vec<(Operation, Path)>,
    late: Vec<LatePut>,
}

struct LatePut {
    requests_left: u32,
    location: Path,
    payload: PutPayload,
    options: PutOptions,
}

impl Faults {
    /// The next request of this kind whose name contains `name_part` fails this way.
    pub fn once(&self, operation: Operation, name_part: &str, fault: Fault) {
        self.lock().once.push((operation, name_part.to_owned(), fault));
    }

    /// Every request asks `chooser`, until [`Self::clear`].
    pub fn choose(&self, chooser: impl FnMut(Operation, &Path) -> Option<Fault> + Send + 'static) {
        self.lock().chooser = Some(Box::new(chooser));
    }

    /// No more faults. Late puts still arrive.
    pub fn clear(&self) {
        let mut plan = self.lock();
        plan.once.clear();
        plan.chooser = None;
    }

    /// Requests made so far, of this kind and with this part in their name.
    pub fn requests(&self, operation: Operation, name_part: &str) -> usize {
        let matches = |(made, location): &&(Operation, Path)| {
            *made == operation && location.as_ref().contains(name_part)
        };
        self.lock().requests.iter().filter(matches).count()
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, operation: Operation, location: &Path) -> Option<Fault> {
        let mut plan = self.lock();
        plan.requests.push((operation, location.clone()));
        let scripted = plan
            .once
            .iter()
            .position(|(kind, part, _)| *kind == operation && location.as_ref().contains(part));
        match scripted {
            Some(at) => Some(plan.once.remove(at).2),
            None => plan.chooser.as_mut().and_then(|chooser| chooser(operation, location)),
        }
    }

    /// Counts one request against every late put and takes those that arrive now.
    fn arriving(&self) -> Vec<LatePut> {
        let mut plan = self.lock();
        for put in &mut plan.late {
            put.requests_left = put.requests_left.saturating_sub(1);
        }
        plan.late.extract_if(.., |put| put.requests_left == 0).collect()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.lock();
        formatter.debug_struct("Faults").field("once", &plan.once).finish_non_exhaustive()
    }
}

/// `inner`, failing as `faults` say.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
    clock: SharedClock,
}

impl FaultyStore {
    /// Wraps a store; delays pass on `clock`.
    #[allow(clippy::new_ret_no_self, reason = "the store is only of use together with its faults")]
    pub fn new(inner: Arc<dyn ObjectStore>, clock: SharedClock) -> (Arc<dyn ObjectStore>, Faults) {
        let faults = Faults::default();
        (Arc::new(Self { inner, faults: faults.clone(), clock }), faults)
    }

    /// Lets late puts arrive, then plays the general faults; `Some` is left for the caller.
    async fn begin(&self, operation: Operation, location: &Path) -> Result<Option<Fault>> {
        for late in self.faults.arriving() {
            // The writer has gone: nobody hears whether it worked.
            drop(self.inner.put_opts(&late.location, late.payload, late.options).await);
        }
        match self.faults.fault(operation, location) {
            Some(Fault::Refuse) => Err(injected("request refused")),
            Some(Fault::DiskFull) => Err(object_store::Error::Generic {
                store: "LocalFileSystem",
                source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
            }),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Delay(duration)) => {
                self.clock.sleep(duration).await;
                Ok(None)
            }
            other => Ok(other),
        }
    }
}

fn injected(what: &'static str) -> object_store::Error {
    object_store::Error::Generic { store: "Faulty", source: what.into() }
}

fn lost<T>(done: Result<T>, fault: Option<Fault>) -> Result<T> {
    match fault {
        Some(Fault::LoseAnswer) => Err(injected("answer lost")),
        _ => done,
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.begin(Operation::Put, location).await?;
        match fault {
            Some(Fault::ArriveLate { requests }) => {
                let location = location.clone();
                let late = LatePut { requests_left: requests, location, payload, options };
                self.faults.lock().late.push(late);
                Err(injected("no answer"))
            }
            Some(Fault::TornPut { bytes }) => {
                let mut whole = Bytes::from(payload);
                whole.truncate(bytes);
                self.inner.put_opts(location, whole.into(), options).await?;
                Err(injected("connection broke during the put"))
            }
            fault => lost(self.inner.put_opts(location, payload, options).await, fault),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.begin(Operation::Put, location).await?;
        lost(self.inner.put_multipart_opts(location, options).await, fault)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.begin(Operation::Get, location).await?;
        let found = self.inner.get_opts(location, options).await;
        match fault {
            Some(Fault::BreakOff { bytes }) => break_off(found?, bytes).await,
            fault => lost(found, fault),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let fault = store.begin(Operation::Delete, &location).await?;
                    let one = stream::iter([Ok(location.clone())]).boxed();
                    let done = store.inner.delete_stream(one).next().await;
                    lost(done.unwrap_or(Ok(location)), fault)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let started = async move {
            let root = prefix.clone().unwrap_or_default();
            match store.begin(Operation::List, &root).await {
                Ok(None) => store.inner.list(prefix.as_ref()),
                Ok(Some(_)) => stream::once(async { Err(injected("answer lost")) }).boxed(),
                Err(error) => stream::once(async { Err(error) }).boxed(),
            }
        };
        started.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let root = prefix.cloned().unwrap_or_default();
        let fault = self.begin(Operation::List, &root).await?;
        lost(self.inner.list_with_delimiter(prefix).await, fault)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fault = self.begin(Operation::Copy, to).await?;
        lost(self.inner.copy_opts(from, to, options).await, fault)
    }
}

/// The same answer, its body ending in an error after `bytes`.
async fn break_off(found: GetResult, bytes: usize) -> Result<GetResult> {
    let (meta, range, attributes) =
        (found.meta.clone(), found.range.clone(), found.attributes.clone());
    let extensions = found.extensions.clone();
    let mut body = found.bytes().await?;
    body.truncate(bytes);
    let parts = vec![Ok(body), Err(injected("connection broke during the body"))];
    let payload = GetResultPayload::Stream(stream::iter(parts).boxed());
    Ok(GetResult { payload, meta, range, attributes, extensions })
}
