//! The public API: its routes and what they share. One file a resource; never trusts a caller's word about who an
//! end user is, never answers anything but JSON and streams of it.

mod addressed;
mod arriving;
mod body;
mod caller;
mod health;
mod invoke;
pub(crate) mod logs;
mod openapi;
mod refuse;
mod request_id;
mod resume;
mod routes;
mod runs;
mod sse;
mod stream;

use axum::{Router, extract::Request, http::Method, middleware, response::Response};

use crate::app::App;
pub(crate) use arriving::Arrival;
pub(crate) use refuse::Refused;

/// The routes. Those at the root serve the default agent.
pub(crate) fn router(app: App) -> Router {
    let routes = routes::routes();
    let document = openapi::document(&routes, app.agents().keys());
    let mut router = Router::new().route(openapi::PATH, openapi::served(&document));
    for route in routes {
        if let Some(of_agent) = &route.of_agent {
            router = router.route(&route.path_of_agent(), of_agent.clone());
        }
        router = router.route(route.path, route.served);
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(request_id::carry))
        .with_state(app)
}

pub(crate) async fn not_found() -> Refused {
    Refused::NotFound
}

/// GET and POST of a path that only knows the other are a path that is not there, as callers of this API expect; other
/// methods are told.
async fn wrong_method(request: Request) -> Result<Response, Refused> {
    match *request.method() {
        Method::GET | Method::HEAD | Method::POST => Err(Refused::NotFound),
        _ => Err(Refused::MethodNotAllowed),
    }
}

#[cfg(test)]
mod tests;
