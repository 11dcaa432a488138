//! From a request to a call of the machine, and from its result to an answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{Level, debug};

use super::Api;
use super::body::{self, AnswerBody};
use super::handler::with_body;
use crate::routes::{self, Found, Operation, Route};
use crate::{
    BalloonTarget, Bucket, Controlled, DiskResize, DiskSize, Limits, MemoryTarget, MigrationInfo,
    MigrationRequest, Problem, Refusal, Saving, SnapshotInfo, SnapshotRequest, StopRequest,
    openapi,
};

/// The longest time that a guest may be given to stop: a day, in seconds.
const LONGEST_STOP: u32 = 86_400;

/// Milliseconds for which a guest that goes is to stand still if nobody says otherwise, and the most.
const DOWNTIME: u32 = 50;
const LONGEST_DOWNTIME: u32 = 2000;

/// Characters of the longest path of a snapshot: no path has more bytes (PATH_MAX, with its end).
const LONGEST_PATH: usize = 4095;

pub(super) type Answered = Result<Response<AnswerBody>, Problem>;

impl Api {
    /// Answers one request.
    pub(super) async fn respond(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        // Before it is given away.
        let asked = tracing::enabled!(Level::DEBUG)
            .then(|| (request.method().clone(), request.uri().path().to_owned()));
        let answer = self
            .answered(request)
            .await
            .unwrap_or_else(|problem| whole(problem.status(), "application/json", problem.json()));
        if let Some((method, path)) = asked
            && let Some(count) = self.requests.next()
        {
            debug!(%method, path, status = answer.status().as_u16(), count, "request");
        }
        answer
    }

    async fn answered(&self, request: Request<Incoming>) -> Answered {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        match routes::find(method.as_str(), &path) {
            Found::Route(route, name) => {
                if request.uri().query().is_some_and(|query| !query.is_empty()) {
                    let message = "there are no query parameters";
                    return Err(Problem::bad_request("unexpected_query", message));
                }
                self.call(route, name, request).await
            }
            Found::OtherMethods(methods) => {
                let status = StatusCode::METHOD_NOT_ALLOWED;
                let message = format!("{path} has no {method}, but {methods}");
                let problem = Problem::new(status, "method_not_allowed", message);
                let mut answer = whole(status, "application/json", problem.json());
                if let Ok(methods) = HeaderValue::try_from(methods) {
                    answer.headers_mut().insert(ALLOW, methods);
                }
                Ok(answer)
            }
            Found::Nothing => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "not_found",
                format!("there is no {path}; see /v1/openapi.json"),
            )),
        }
    }

    async fn call(&self, route: &Route, name: &str, request: Request<Incoming>) -> Answered {
        let machine = &self.machine;
        match route.operation {
            Operation::Snapshot => return self.snapshot(route, request).await,
            Operation::Migrate => return self.migrate(route, request).await,
            Operation::Stop => return self.stop(route, request).await,
            Operation::SetLimits => return self.set_limits(name, request).await,
            Operation::Resize => return self.resize(name, request).await,
            Operation::SetBalloon => return self.set_balloon(request).await,
            Operation::SetMemory => return self.set_memory(request).await,
            Operation::ConsoleInput => return self.console_input(route, request, false).await,
            Operation::TakeConsole => return self.console_input(route, request, true).await,
            Operation::ConsoleSize => return self.console_size(request).await,
            _ => body::nothing(&request)?,
        }
        match route.operation {
            Operation::Machine => {}
            Operation::Boot => self.waiting(|machine| machine.boot()).await?,
            Operation::Pause => self.waiting(|machine| machine.pause()).await?,
            Operation::Resume => self.waiting(|machine| machine.resume()).await?,
            Operation::Reset => self.waiting(|machine| machine.reset()).await?,
            Operation::PowerButton => machine.power_button(),
            Operation::CtrlAltDel => machine.ctrl_alt_del(),
            Operation::Migration => return json(route, &machine.migration()),
            Operation::Devices => return json(route, &machine.devices()),
            Operation::Device => return json(route, &self.device(name)?),
            Operation::Limits => return json(route, &self.limits(name)?),
            Operation::Size => return self.size(route, name),
            Operation::Balloon => return json(route, &self.balloon()?),
            Operation::Memory => return json(route, &self.memory()?),
            Operation::Inspect => {
                let tree = self.waiting(|machine| machine.inspect()).await?;
                return Ok(whole(StatusCode::OK, "application/json", tree));
            }
            Operation::Metrics => {
                let text = self.waiting(|machine| Ok(machine.metrics())).await?;
                // The version of the format, as Prometheus asks for it.
                let kind = "text/plain; version=0.0.4";
                return Ok(whole(StatusCode::OK, kind, text));
            }
            Operation::Events => return self.events(),
            Operation::ConsoleLog => return self.console_log(),
            Operation::ConsoleOutput => return self.console_output(),
            Operation::OpenApi => {
                let document = match &self.title {
                    Some(title) => openapi::document_titled(title).into(),
                    None => Bytes::from_static(openapi::document().as_bytes()),
                };
                return Ok(whole(StatusCode::OK, "application/json", document));
            }
            Operation::Snapshot
            | Operation::Migrate
            | Operation::Stop
            | Operation::SetLimits
            | Operation::Resize
            | Operation::SetBalloon
            | Operation::SetMemory
            | Operation::ConsoleInput
            | Operation::TakeConsole
            | Operation::ConsoleSize => {}
        }
        json(route, &machine.machine())
    }

    /// Calls what may wait for the machine, on a thread that may wait.
    async fn waiting<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Controlled) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Problem> {
        let machine = self.machine.clone();
        match tokio::task::spawn_blocking(move || call(&*machine)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(Problem::internal("the call ended in an internal error")),
        }
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        request: Request<Incoming>,
    ) -> Result<Option<T>, Problem> {
        body::read(request, self.limits).await
    }

    /// Asks the guest, and stops the machine later or at once.
    async fn snapshot(&self, route: &Route, request: Request<Incoming>) -> Answered {
        let asked: SnapshotRequest = self.read(request).await?.ok_or_else(no_body)?;
        let folder = PathBuf::from(&asked.folder);
        let is_long = asked.folder.chars().count() > LONGEST_PATH;
        if !folder.is_absolute() || asked.folder.contains('\0') || is_long {
            let message = format!("{:?} is not the absolute path of a folder", asked.folder);
            return Err(Problem::bad_field("folder", message));
        }
        let saving = Saving {
            diff: asked.diff,
            live: asked.live,
            stop: asked.stop,
            apart: asked.apart,
        };
        let saved = self.waiting(move |machine| machine.save(&folder, saving));
        let pause = saved.await?;
        let saved = SnapshotInfo {
            machine: self.machine.machine(),
            pause_microseconds: u64::try_from(pause.as_micros()).unwrap_or(u64::MAX),
        };
        json(route, &saved)
    }

    async fn migrate(&self, route: &Route, request: Request<Incoming>) -> Answered {
        let asked: MigrationRequest = self.read(request).await?.ok_or_else(no_body)?;
        let is_possible = !asked.to.contains('\0') && asked.to.chars().count() <= LONGEST_PATH;
        let path = asked.to.strip_prefix("unix:").map(PathBuf::from);
        let Some(path) = path.filter(|path| path.is_absolute() && is_possible) else {
            let message = format!(
                "{:?} is not unix: and the absolute path of a socket",
                asked.to
            );
            return Err(Problem::bad_field("to", message));
        };
        let downtime = asked.downtime_milliseconds.unwrap_or(DOWNTIME);
        if !(1..=LONGEST_DOWNTIME).contains(&downtime) {
            let message = format!("{downtime} is not from 1 to {LONGEST_DOWNTIME}");
            return Err(Problem::bad_field("downtime_milliseconds", message));
        }
        let downtime = Duration::from_millis(downtime.into());
        let moved = self.waiting(move |machine| machine.migrate(&path, downtime));
        let moved = moved.await?;
        let moved = MigrationInfo {
            machine: self.machine.machine(),
            pause_microseconds: u64::try_from(moved.pause.as_micros()).unwrap_or(u64::MAX),
            rounds: moved.rounds,
            sent_bytes: moved.sent_bytes,
            acknowledged: moved.is_acknowledged,
        };
        json(route, &moved)
    }

    async fn stop(&self, route: &Route, request: Request<Incoming>) -> Answered {
        let asked: StopRequest = self.read(request).await?.unwrap_or_default();
        let default = || self.machine.stop_timeout();
        let timeout = asked.timeout_seconds.unwrap_or_else(default);
        if timeout > LONGEST_STOP {
            let message = format!("{timeout} is longer than a day, {LONGEST_STOP} seconds");
            return Err(Problem::bad_field("timeout_seconds", message));
        }
        if timeout == 0 {
            self.machine.stop();
        } else {
            self.machine.ask_to_stop();
            let machine = Arc::downgrade(&self.machine);
            let stopping = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(timeout.into())).await;
                if let Some(machine) = machine.upgrade() {
                    machine.stop();
                }
            });
            // The last request counts, so that there is one timer however many ask.
            let mut current = self.stopping.lock();
            if let Some(before) = current.replace(stopping.abort_handle()) {
                before.abort();
            }
        }
        json(route, &self.machine.machine())
    }

    fn device(&self, name: &str) -> Result<crate::Device, Problem> {
        let mut devices = self.machine.devices().into_iter();
        devices
            .find(|device| device.name == name)
            .ok_or_else(|| Refusal::NoSuchDevice(name.to_owned()).into())
    }

    fn limits(&self, name: &str) -> Result<Limits, Problem> {
        let none = || Refusal::NoLimits(name.to_owned());
        Ok(self.device(name)?.limits.ok_or_else(none)?)
    }

    async fn set_limits(&self, name: &str, request: Request<Incoming>) -> Answered {
        let limits: Limits = self.read(request).await?.ok_or_else(no_body)?;
        check_limits(&limits)?;
        self.device(name)?;
        let limits = self.machine.limit(name, &limits)?;
        json_of(StatusCode::OK, &limits)
    }

    fn size(&self, route: &Route, name: &str) -> Answered {
        self.device(name)?;
        let size_bytes = self.machine.size(name)?;
        json(route, &DiskSize { size_bytes })
    }

    async fn resize(&self, name: &str, request: Request<Incoming>) -> Answered {
        let asked: DiskResize = self.read(request).await?.unwrap_or_default();
        let wanted = asked.size_bytes;
        let is_size = |bytes: u64| {
            (DiskResize::UNIT..=DiskResize::MAX).contains(&bytes)
                && bytes.is_multiple_of(DiskResize::UNIT)
        };
        if let Some(bytes) = wanted.filter(|bytes| !is_size(*bytes)) {
            let message = format!("{bytes} is not a multiple of 512 from 512 to 2^50");
            return Err(Problem::bad_field("size_bytes", message));
        }
        self.device(name)?;
        let disk = name.to_owned();
        let size = self.waiting(move |machine| machine.resize(&disk, wanted));
        let size_bytes = size.await?;
        json_of(StatusCode::OK, &DiskSize { size_bytes })
    }

    fn balloon(&self) -> Result<crate::Balloon, Problem> {
        Ok(self.machine.balloon().ok_or(Refusal::NoBalloon)?)
    }

    async fn set_balloon(&self, request: Request<Incoming>) -> Answered {
        let target: BalloonTarget = self.read(request).await?.ok_or_else(no_body)?;
        let bytes = target.target_bytes;
        if bytes > BalloonTarget::MAX || !bytes.is_multiple_of(BalloonTarget::UNIT) {
            let message = format!("{bytes} is not a multiple of 1 MiB up to 2^30 MiB");
            return Err(Problem::bad_field("target_bytes", message));
        }
        self.balloon()?;
        self.machine.set_balloon(bytes)?;
        json_of(StatusCode::OK, &self.balloon()?)
    }

    fn memory(&self) -> Result<crate::Memory, Problem> {
        Ok(self.machine.memory().ok_or(Refusal::NoMemory)?)
    }

    async fn set_memory(&self, request: Request<Incoming>) -> Answered {
        let target: MemoryTarget = self.read(request).await?.ok_or_else(no_body)?;
        let bytes = target.target_bytes;
        if bytes > MemoryTarget::MAX || !bytes.is_multiple_of(MemoryTarget::UNIT) {
            let message = format!("{bytes} is not a multiple of 4096 up to 2^50");
            return Err(Problem::bad_field("target_bytes", message));
        }
        self.memory()?;
        self.machine.set_memory(bytes)?;
        json_of(StatusCode::OK, &self.memory()?)
    }

    fn events(&self) -> Answered {
        let stream = self.streams.open(&self.machine, self.limits.streams)?;
        let mut answer = Response::new(AnswerBody::Events(stream));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(answer)
    }
}

pub(super) fn no_body() -> Problem {
    Problem::bad_request(
        "missing_body",
        "this request needs a body of application/json",
    )
}

/// Checks numbers as the document does beyond their types.
fn check_limits(limits: &Limits) -> Result<(), Problem> {
    let flows = [
        ("requests", limits.requests),
        ("receive", limits.receive),
        ("transmit", limits.transmit),
    ];
    for (flow, limits) in flows {
        let Some(limits) = limits else { continue };
        let buckets = [
            ("bandwidth", limits.bandwidth),
            ("operations", limits.operations),
        ];
        for (kind, bucket) in buckets {
            if let Some(bucket) = bucket {
                check_bucket(&format!("{flow}.{kind}"), &bucket)?;
            }
        }
    }
    Ok(())
}

fn check_bucket(place: &str, bucket: &Bucket) -> Result<(), Problem> {
    let refill = u64::from(bucket.refill_milliseconds);
    let rows = [
        ("size", bucket.size, 1, Bucket::MAX),
        ("burst", bucket.burst, 0, Bucket::MAX),
        ("refill_milliseconds", refill, 1, Bucket::LONGEST.into()),
    ];
    for (field, value, least, most) in rows {
        if !(least..=most).contains(&value) {
            let message = format!("{value} is not from {least} to {most}");
            return Err(Problem::bad_field(&format!("{place}.{field}"), message));
        }
    }
    Ok(())
}

pub(super) fn json(route: &Route, value: &impl Serialize) -> Answered {
    json_of(
        StatusCode::from_u16(route.status).unwrap_or_default(),
        value,
    )
}

pub(super) fn json_of(status: StatusCode, value: &impl Serialize) -> Answered {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Problem::internal(&format!("the answer is no JSON: {error}")))?;
    Ok(whole(status, "application/json", bytes))
}

pub(super) fn whole(
    status: StatusCode,
    kind: &'static str,
    bytes: impl Into<Bytes>,
) -> Response<AnswerBody> {
    with_body(status, kind, AnswerBody::Whole(Some(bytes.into())))
}
