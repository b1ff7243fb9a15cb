//! The routes: each one line from a request to the control plane's answer.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};

use crate::config::{Document, Secrets};
use crate::control::request::{Export, Removal, Stall};
use crate::control::view::{
    HostView, LunView, MapView, Noted, PendingView, PortalView, StatusView, TargetView,
};
use crate::control::{Control, Fault};
use crate::portal::Portal;
use crate::worker_link::SessionInfo;

use super::answer::{Answer, Done, body, done, no_route, parameter};

type Daemon = State<Arc<Control>>;

/// All routes.
pub fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/config", get(config))
        .route("/v1/config.toml", get(config_toml))
        .route("/v1/target", get(target).patch(set_target))
        .route("/v1/luns", get(luns))
        .route(
            "/v1/luns/{name}",
            get(lun).post(add_lun).patch(set_lun).delete(remove_lun),
        )
        .route("/v1/luns/{name}/resize", post(resize_lun))
        .route("/v1/luns/{name}/stall", post(stall_lun))
        .route("/v1/hosts", get(hosts))
        .route(
            "/v1/hosts/{name}",
            get(host).post(add_host).patch(set_host).delete(remove_host),
        )
        .route("/v1/maps", get(maps).post(map))
        .route("/v1/maps/{host}/{lun}", delete(unmap))
        .route("/v1/portals", get(portals).post(add_portal))
        .route(
            "/v1/portals/{protocol}/{listen}",
            get(portal).delete(remove_portal),
        )
        .route("/v1/sessions", get(sessions))
        .route("/v1/sessions/{id}", get(session).delete(drop_session))
        .route("/v1/pending", get(pending))
        .route("/v1/allow", post(allow))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .with_state(control)
}

async fn status(State(control): Daemon) -> Answer<StatusView> {
    control.status().await.map(Json)
}

async fn config(State(control): Daemon, query: Shown) -> Answer<Document> {
    Ok(Json(control.document(shown(query)?)))
}

async fn config_toml(State(control): Daemon, query: Shown) -> Result<String, Fault> {
    control.export(shown(query)?)
}

async fn target(State(control): Daemon) -> Json<TargetView> {
    Json(control.target_names())
}

async fn set_target(State(control): Daemon, set: Body) -> Answer<Noted<TargetView>> {
    control.set_target(body(set).await?).await.map(Json)
}

async fn luns(State(control): Daemon) -> Json<Vec<LunView>> {
    Json(control.luns())
}

async fn lun(State(control): Daemon, Path(name): Path<String>) -> Answer<LunView> {
    control.lun(&parameter(&name)?).map(Json)
}

async fn add_lun(State(control): Daemon, Path(name): Path<String>, table: Body) -> Answer<LunView> {
    control
        .add_lun(parameter(&name)?, body(table).await?)
        .await
        .map(Json)
}

async fn set_lun(State(control): Daemon, Path(name): Path<String>, set: Body) -> Answer<LunView> {
    control
        .set_lun(parameter(&name)?, body(set).await?)
        .await
        .map(Json)
}

async fn resize_lun(
    State(control): Daemon,
    Path(name): Path<String>,
    resize: Body,
) -> Answer<LunView> {
    control
        .resize_lun(parameter(&name)?, body(resize).await?)
        .await
        .map(Json)
}

async fn stall_lun(State(control): Daemon, Path(name): Path<String>, stall: Body) -> Answer<Done> {
    let stall: Stall = body(stall).await?;
    done(control.stall_lun(&parameter(&name)?, stall.on).await)
}

async fn remove_lun(
    State(control): Daemon,
    Path(name): Path<String>,
    query: Forced,
) -> Answer<Noted<()>> {
    control
        .remove_lun(parameter(&name)?, forced(query)?)
        .await
        .map(Json)
}

async fn hosts(State(control): Daemon) -> Json<Vec<HostView>> {
    Json(control.hosts())
}

async fn host(State(control): Daemon, Path(name): Path<String>) -> Answer<HostView> {
    control.host(&parameter(&name)?).map(Json)
}

async fn add_host(
    State(control): Daemon,
    Path(name): Path<String>,
    edit: Body,
) -> Answer<Noted<HostView>> {
    control
        .add_host(parameter(&name)?, body(edit).await?)
        .await
        .map(Json)
}

async fn set_host(
    State(control): Daemon,
    Path(name): Path<String>,
    edit: Body,
) -> Answer<Noted<HostView>> {
    control
        .set_host(parameter(&name)?, body(edit).await?)
        .await
        .map(Json)
}

async fn remove_host(
    State(control): Daemon,
    Path(name): Path<String>,
    query: Forced,
) -> Answer<Done> {
    done(control.remove_host(parameter(&name)?, forced(query)?).await)
}

async fn maps(State(control): Daemon) -> Json<Vec<MapView>> {
    Json(control.maps())
}

async fn map(State(control): Daemon, map: Body) -> Answer<MapView> {
    control.map(body(map).await?).await.map(Json)
}

async fn unmap(State(control): Daemon, Path((host, lun)): Path<(String, String)>) -> Answer<Done> {
    done(control.unmap(parameter(&host)?, parameter(&lun)?).await)
}

async fn portals(State(control): Daemon) -> Json<Vec<PortalView>> {
    Json(control.portals())
}

async fn portal(
    State(control): Daemon,
    Path((protocol, listen)): Path<(String, String)>,
) -> Answer<PortalView> {
    control
        .portal(parameter(&protocol)?, &parameter(&listen)?)
        .map(Json)
}

async fn add_portal(State(control): Daemon, portal: Body) -> Answer<PortalView> {
    control.add_portal(body(portal).await?).await.map(Json)
}

async fn remove_portal(
    State(control): Daemon,
    Path((protocol, listen)): Path<(String, String)>,
) -> Answer<Done> {
    let portal = Portal {
        protocol: parameter(&protocol)?,
        listen: parameter(&listen)?,
        fabric: None,
    };
    done(control.remove_portal(portal).await)
}

async fn sessions(State(control): Daemon) -> Answer<Vec<SessionInfo>> {
    control.sessions().await.map(Json)
}

async fn session(State(control): Daemon, Path(id): Path<String>) -> Answer<SessionInfo> {
    control.session(session_id(&id)?).await.map(Json)
}

async fn drop_session(State(control): Daemon, Path(id): Path<String>) -> Answer<Done> {
    done(control.drop_session(session_id(&id)?).await)
}

async fn pending(State(control): Daemon) -> Answer<Vec<PendingView>> {
    control.refused().await.map(Json)
}

async fn allow(State(control): Daemon, allow: Body) -> Answer<Noted<HostView>> {
    control.allow(body(allow).await?).await.map(Json)
}

fn session_id(text: &str) -> Result<u64, Fault> {
    text.parse().map_err(|_| {
        let came: String = text.chars().take(40).collect();
        Fault::invalid(format!("expected the number of a session, came '{came}'"))
            .fix("srptgt session list shows them")
    })
}

type Shown = Result<Query<Export>, QueryRejection>;

/// `?secrets=true`, or what is wrong with the query.
fn shown(query: Shown) -> Result<Secrets, Fault> {
    match query {
        Ok(Query(Export { secrets: true })) => Ok(Secrets::Included),
        Ok(Query(Export { secrets: false })) => Ok(Secrets::LeftOut),
        Err(rejection) => Err(Fault::invalid(format!(
            "the query: {}; accepted: secrets=true",
            rejection.body_text()
        ))),
    }
}

type Forced = Result<Query<Removal>, QueryRejection>;

/// `?force=true`, or what is wrong with the query.
fn forced(query: Forced) -> Result<bool, Fault> {
    match query {
        Ok(Query(removal)) => Ok(removal.force),
        Err(rejection) => Err(Fault::invalid(format!(
            "the query: {}; accepted: force=true",
            rejection.body_text()
        ))),
    }
}
