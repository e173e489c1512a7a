//! `nightshift invoke`: one call of a function of a running host.
//!
//! Functions that messages or the clock call are called through the host's page `POST
//! /admin/functions/{name}`, which does not wait for them. HTTP functions are called at their own address.

mod client;
mod function;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http::{Method, StatusCode};
use nightshift_settings::{Environment, Source, did_you_mean};
use serde_json::{Value, json};

use super::send::read_body;
use crate::args::InvokeArgs;
use crate::checkout::Checkout;
use crate::output;
use crate::servers::{FOLDER, checkout_above};
use crate::up::{addresses, ports};
use client::{Answer, Client};
use function::Known;

/// Where a host answers when nobody says anything else.
const DEFAULT: &str = "http://127.0.0.1:7071";

/// How long a host may take until it is ready, and how often it is asked.
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// The host's settings that tell where it is and where its keys are.
const LISTEN: &str = "NIGHTSHIFT_HOST_LISTEN";
const KEYS: &str = "NIGHTSHIFT_HOST_KEYS_DIR";

/// The file with the master key.
const MASTER: &str = "host.master";

pub(super) async fn run(args: InvokeArgs, is_json: bool) -> anyhow::Result<u8> {
    let checkout = checkout();
    let client = Client::new(&address(&args, checkout.as_deref()), key(&args)?)?;
    wait_until_ready(&client).await?;
    let path = format!("/admin/functions/{}", encoded(&args.function));
    let described = client.send(Method::GET, &path, None).await?;
    let described = match described.status {
        StatusCode::OK => described.json()?,
        StatusCode::NOT_FOUND => bail!(unknown(&client, &args.function).await?),
        _ => return Err(refused(&described, &client)),
    };
    let known = checkout
        .as_deref()
        .and_then(|root| Known::find(&Checkout::new(root), &args.function));
    let data = data(&args, known.as_ref())?;
    match described["invoke_url_template"].as_str() {
        Some(template) => {
            let template = template.to_owned();
            request(&args, &client, &template, known.as_ref(), data, is_json).await
        }
        None => run_by_hand(&args, &client, known.as_ref(), data, is_json).await,
    }
}

/// A call that comes before the host has its handler and its queues fails, and nobody is told.
async fn wait_until_ready(client: &Client) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY;
    loop {
        let answer = client.send(Method::GET, "/healthz/ready", None).await?;
        // A host of another kind has no such page.
        if answer.status != StatusCode::SERVICE_UNAVAILABLE {
            return Ok(());
        }
        if Instant::now() > deadline {
            let (address, what) = (client.address(), answer.text());
            bail!("the host at {address} is not ready: {what}");
        }
        tokio::time::sleep(POLL).await;
    }
}

fn checkout() -> Option<PathBuf> {
    let working = std::env::current_dir().ok()?;
    checkout_above(&working).map(Path::to_owned)
}

/// Where the host is.
fn address(args: &InvokeArgs, checkout: Option<&Path>) -> String {
    if let Some(host) = &args.host {
        return host.clone();
    }
    if let Some(listen) = Environment.get(LISTEN)
        && !listen.ends_with(":0")
    {
        let listen = listen.replace("0.0.0.0:", "127.0.0.1:");
        return format!("http://{}", listen.replace("[::]:", "[::1]:"));
    }
    let of_stack = checkout.and_then(|checkout| {
        let run = checkout.join(FOLDER).join("run");
        addresses::read(&run)?;
        ports::Ports::read(&run).remembered("host")
    });
    of_stack.map_or_else(
        || DEFAULT.to_owned(),
        |port| format!("http://127.0.0.1:{port}"),
    )
}

/// The key to show.
fn key(args: &InvokeArgs) -> anyhow::Result<Option<String>> {
    let of_host = || Some(Path::new(&Environment.get(KEYS)?).join(MASTER));
    let Some(file) = args.key_file.clone().or_else(of_host) else {
        return Ok(None);
    };
    let read = std::fs::read_to_string(&file);
    let key = read.with_context(|| format!("cannot read the key in {}", file.display()))?;
    Ok(Some(key.trim().to_owned()))
}

/// What there is no function called `name`, and which there are.
async fn unknown(client: &Client, name: &str) -> anyhow::Result<String> {
    let answer = client.send(Method::GET, "/admin/functions", None).await?;
    let all = answer.json()?;
    let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = all.iter().filter_map(|one| one["name"].as_str()).collect();
    let near = did_you_mean(name, names.iter().copied());
    let (names, address) = (names.join(", "), client.address());
    Ok(format!(
        "the host at {address} has no function {name}{near}; it has {names}; a function that is new \
         comes with the next `nightshift up`"
    ))
}

fn refused(answer: &Answer, client: &Client) -> anyhow::Error {
    let address = client.address();
    match answer.status {
        StatusCode::UNAUTHORIZED if client.has_key() => anyhow::anyhow!(
            "the host at {address} does not take this key: it must be the master key, the file {MASTER} \
             of the host's {KEYS}; name it with --key-file"
        ),
        StatusCode::UNAUTHORIZED => anyhow::anyhow!(
            "the host at {address} wants a key: the master key, which is the file {MASTER} of its {KEYS}; \
             set {KEYS}, or name the file with --key-file"
        ),
        status => anyhow::anyhow!("the host at {address} answers {status}: {}", answer.text()),
    }
}

/// What to send: what the user wants, or else the sample, if there is one.
fn data(args: &InvokeArgs, known: Option<&Known>) -> anyhow::Result<Option<String>> {
    if let Some(file) = &args.data {
        let body = read_body(file)?;
        let text = String::from_utf8(body.to_vec());
        return Ok(Some(text.with_context(|| {
            format!(
                "{} is not UTF-8, and the host takes texts only",
                file.display()
            )
        })?));
    }
    let name = args.sample.as_deref().unwrap_or_default();
    match known {
        Some(known) if name.is_empty() && args.sample.is_none() => Ok(known.sample("").ok()),
        Some(known) => known.sample(name).map(Some),
        None if args.sample.is_some() => {
            bail!(
                "samples are in a checkout that has {}; use --data",
                args.function
            )
        }
        None => Ok(None),
    }
}

async fn run_by_hand(
    args: &InvokeArgs,
    client: &Client,
    known: Option<&Known>,
    data: Option<String>,
    is_json: bool,
) -> anyhow::Result<u8> {
    let name = &args.function;
    let is_timer = known.is_some_and(Known::is_timer);
    let input = match data {
        Some(_) if is_timer => bail!("{name} is called by the clock and takes no data"),
        Some(data) => data,
        None if is_timer => String::new(),
        None => bail!("there is no sample.json for {name} here; use --data"),
    };
    let path = format!("/admin/functions/{}", encoded(name));
    let body = json!({ "input": input }).to_string();
    let answer = client.send(Method::POST, &path, Some(body)).await?;
    if answer.status != StatusCode::ACCEPTED {
        return Err(refused(&answer, client));
    }
    if is_json {
        output::line(json!({
            "function": name, "host": client.address(), "status": answer.status.as_u16(),
        }));
    } else {
        let hint = if is_timer {
            "; it looks at what is due, and the work is done by its queue's function"
        } else {
            ""
        };
        output::line(format!(
            "{name} was called{hint}; whether it succeeds is in the host's log (.nightshift/logs/host.log \
             under `nightshift up`)"
        ));
    }
    Ok(0)
}

/// Calls an HTTP function and shows what it answers.
async fn request(
    args: &InvokeArgs,
    client: &Client,
    template: &str,
    known: Option<&Known>,
    data: Option<String>,
    is_json: bool,
) -> anyhow::Result<u8> {
    let path = template
        .split_once("://")
        .map_or(template, |(_, rest)| rest);
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let path = format!("/{}", function::filled(path, &args.param)?);
    let method = match &args.method {
        Some(method) => method.to_uppercase(),
        None => function::method(known, data.is_some()),
    };
    let method: Method = method.parse().context("--method is no method of HTTP")?;
    let answer = client.send(method.clone(), &path, data).await?;
    if answer.status == StatusCode::UNAUTHORIZED && !client.has_key() {
        return Err(refused(&answer, client));
    }
    if is_json {
        let body = answer.json().unwrap_or_else(|_| Value::from(answer.text()));
        output::line(json!({
            "function": args.function, "host": client.address(), "method": method.as_str(),
            "path": path, "status": answer.status.as_u16(), "body": body,
        }));
    } else {
        output::line(format!("{method} {path}: {}", answer.status));
        if !answer.body.is_empty() {
            output::line(answer.text());
        }
    }
    Ok(u8::from(!answer.status.is_success()))
}

fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// `NAME=VALUE`.
pub(crate) fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
