//! Ready-made plugins, with closures that are hostile.

use ethreads::http::App;
use ethreads::http::middleware::{basic_auth, bearer_auth};

use crate::http::util::Site;

use super::kit::Kit;
use super::servers::played_with;
use super::{Play, Row, row};

pub(super) fn rows() -> Vec<Row> {
    let rows = vec![
        row("http::basic_auth", "Fn", |kit| {
            app(kit, "authorization: Basic YTpi\r\n", |app, kit| {
                let check = move |_: &str, _: &str| {
                    kit.call();
                    Ok(Some(()))
                };
                app.apply(basic_auth("a", check))
            })
        }),
        row("http::bearer_auth", "Fn", |kit| {
            app(kit, "authorization: Bearer a\r\n", |app, kit| {
                let check = move |_: &str| {
                    kit.call();
                    Ok(Some(kit.value()))
                };
                app.apply(bearer_auth("a", check))
            })
        }),
    ];
    rows.into_iter().map(Row::shielded).collect()
}

/// A site with two routes, the hostile one of which has the plugin that `build` applies.
fn app(kit: &Kit, fields: &'static str, build: fn(App, Kit) -> App) -> Play {
    played_with(kit, fields, move |kit| {
        let hostile = build(App::new().any("/bad", || "done"), kit);
        Site::new(App::new().get("/good", || "good").merge(hostile))
    })
}

#[test]
fn plugins_stay_sound() {
    super::run_all(rows());
}
