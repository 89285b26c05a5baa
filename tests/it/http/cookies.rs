//! Cookies over a connection.

use ethreads::http::{App, Cookie, CookieError, Cookies, HandlerError, IntoResponse, Response};
use ethreads::http::{Query, Result, StatusCode};

use crate::http::util::{Site, on_a_shard};

fn set(Query(pairs): Query<Vec<(String, String)>>) -> Result<Response> {
    let refused =
        |error: CookieError| HandlerError::status(StatusCode::BAD_REQUEST, error.to_string());
    let set = |response: Response, pair: (String, String)| response.try_with_cookie(pair);
    let start = "set\n"
        .into_response()
        .with_cookie(Cookie::build(("fixed", "1")).path("/"));
    pairs.into_iter().try_fold(start, set).map_err(refused)
}

fn list(cookies: Cookies) -> String {
    let pairs = cookies
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"));
    pairs.collect()
}

#[test]
fn cookies_are_lines_of_their_own_in_both_directions() {
    on_a_shard(|| {
        let site = Site::new(App::new().get("/set", set).get("/", list));
        let mut client = site.connect();
        let answer = client.get("/set?a=1&b=%22two%22");
        let lines = answer
            .head
            .lines()
            .filter(|line| line.starts_with("set-cookie: "));
        let lines: Vec<_> = lines.collect();
        assert_eq!(
            lines,
            [
                "set-cookie: fixed=1; Path=/",
                "set-cookie: a=1",
                "set-cookie: b=\"two\""
            ]
        );
        client.send("GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1; b=\"two\"\r\ncookie: c=3\r\n\r\n");
        assert_eq!(client.answer().text(), "a: 1\nb: \"two\"\nc: 3\n");
        drop(client);
        site.end();
    });
}

#[test]
fn no_value_of_a_client_adds_to_a_head() {
    on_a_shard(|| {
        let site = Site::new(App::new().get("/set", set));
        let mut client = site.connect();
        for bad in ["a=b%0D%0Ax:%20y", "a%3Bb=c", "a=b%3B%20Domain=x", "a=%00"] {
            let answer = client.get(&format!("/set?{bad}"));
            assert_eq!(answer.status, 400, "{bad}");
            assert!(answer.text().contains("cannot be set"), "{}", answer.text());
            assert_eq!(answer.header("set-cookie"), None, "{bad}");
        }
        drop(client);
        site.end();
    });
}
