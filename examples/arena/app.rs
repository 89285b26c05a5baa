//! What the cases answer.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path as FilePath;

use ethreads::http::middleware::compression;
use ethreads::http::{
    App, Files, HandlerError, IntoResponse, Json, Path, Query, Request, Response, Result, State,
    StatusCode,
};
use serde::{Deserialize, Serialize};

/// The app of one shard, over the folder that `make_data.py` has made.
pub(crate) fn app(data: &FilePath) -> io::Result<App> {
    let items: Vec<Item> =
        serde_json::from_reader(BufReader::new(File::open(data.join("dataset.json"))?))?;
    let files = Files::new(data.join("static"))?.precompressed();
    let compressed = App::new()
        .with(items)
        .get("/json/{count}", json)
        .apply(compression());
    Ok(App::new()
        .get("/baseline11", sum)
        .post("/baseline11", sum)
        .get("/pipeline", || "ok")
        .post("/upload", upload)
        .get("/static/{*path}", files)
        .merge(compressed))
}

#[derive(Deserialize)]
struct Terms {
    a: i64,
    b: i64,
}

/// The sum of the two numbers in the query and, if there is one, of the number in the body.
fn sum(Query(Terms { a, b }): Query<Terms>, body: String) -> Result<String> {
    let c = match body.trim() {
        "" => 0,
        number => number.parse().map_err(|_| bad_request("no number"))?,
    };
    let sum = a.checked_add(b).and_then(|sum| sum.checked_add(c));
    let sum = sum.ok_or_else(|| bad_request("too large a sum"))?;
    Ok(sum.to_string())
}

fn bad_request(text: &'static str) -> HandlerError {
    HandlerError::status(StatusCode::BAD_REQUEST, text)
}

#[derive(Deserialize, Serialize)]
struct Item {
    id: i64,
    name: String,
    category: String,
    price: i64,
    quantity: i64,
    active: bool,
    tags: Vec<String>,
    rating: Rating,
}

#[derive(Deserialize, Serialize)]
struct Rating {
    score: i64,
    count: i64,
}

/// An item with its total price.
#[derive(Serialize)]
struct Priced<'a> {
    id: i64,
    name: &'a str,
    category: &'a str,
    price: i64,
    quantity: i64,
    active: bool,
    tags: &'a [String],
    rating: &'a Rating,
    total: i64,
}

impl<'a> Priced<'a> {
    fn new(item: &'a Item, factor: i64) -> Self {
        Self {
            id: item.id,
            name: &item.name,
            category: &item.category,
            price: item.price,
            quantity: item.quantity,
            active: item.active,
            tags: &item.tags,
            rating: &item.rating,
            total: (item.price * item.quantity).saturating_mul(factor),
        }
    }
}

#[derive(Serialize)]
struct Listing<'a> {
    items: Vec<Priced<'a>>,
    count: usize,
}

#[derive(Deserialize)]
struct Factor {
    m: i64,
}

/// The first `count` items, each with its price times its quantity times `m`.
fn json(
    Path(count): Path<usize>,
    Query(Factor { m }): Query<Factor>,
    items: State<Vec<Item>>,
) -> Response {
    let items = items.iter().take(count).map(|item| Priced::new(item, m));
    let items: Vec<_> = items.collect();
    let count = items.len();
    Json(Listing { items, count }).into_response()
}

/// The number of bytes in the body, which is of any length and not kept.
fn upload(request: &mut Request) -> Result<String> {
    let mut body = request.body();
    let mut buffer = vec![0; 64 * 1024];
    let mut total: u64 = 0;
    loop {
        match body.read(&mut buffer)? {
            0 => return Ok(total.to_string()),
            got => total += got as u64,
        }
    }
}
