//! Services of the realm: list them, find one, announce one.

use std::time::Duration;

use futures::TryFutureExt;
use futures::future::{select_all, try_join_all};
use serde_json::{Value, json};
use sinew_client::{Client, LookupError, Reconnect, Service, ServiceInstance, ServiceSummaryRow};

use super::connect::{Wish, connect, lease_refused, within};
use super::table::Listing;
use crate::cli::{Common, Svc};
use crate::exit::Code;
use crate::output::Output;

pub(crate) async fn run(command: Svc, common: Common, output: Output) -> anyhow::Result<Code> {
    let reconnect = if matches!(command, Svc::Announce { .. }) { Reconnect::default() } else { Reconnect::never() };
    let client = connect(&common, Wish { name: "sinew svc", reconnect, beside: None }).await?;
    let code = match command {
        Svc::Ls => list(&client, &common, output).await?,
        Svc::Get { name } => get(&client, &name, &common, output).await?,
        Svc::Announce { name, ttl, metadata } => {
            let services = name.into_iter().map(|name| {
                let service = Service::new(name).ttl(ttl);
                metadata.iter().fold(service, |service, (key, value)| service.metadata(key, value))
            });
            announce(&client, services, ttl, &common, output).await?
        }
    };
    within(common.timeout, "goodbye", client.close()).await?;
    Ok(code)
}

async fn list(client: &Client, common: &Common, output: Output) -> anyhow::Result<Code> {
    let rows = within(common.timeout, "services", client.services().all()).await?;
    let listing = Listing { head: ["INSTANCES", "NODES", "NAME"], nothing: "no service is announced" };
    let json = |ServiceSummaryRow { name, instances, nodes }: &_| json!({ "name": name, "instances": instances, "nodes": nodes });
    listing.print(output, rows, json, |row| [row.instances.to_string(), row.nodes.to_string(), row.name.clone()])?;
    Ok(Code::Ok)
}

async fn get(client: &Client, name: &str, common: &Common, output: Output) -> anyhow::Result<Code> {
    let instances = match client.lookup_within(name, common.timeout).await {
        Ok(instances) => instances,
        Err(error @ (LookupError::NotFound | LookupError::NoPeers)) => {
            output.error(format_args!("{name}: {error}"));
            return Ok(Code::NobodyThere);
        }
        Err(error) => return Err(error.into()),
    };
    let listing = Listing { head: ["PROVIDER", "NODE", "REGION", "METADATA"], nothing: "nobody provides it" };
    listing.print(output, &instances, |one| row(one), |one| cells(one))?;
    Ok(Code::Ok)
}

fn cells(instance: &ServiceInstance) -> [String; 4] {
    let metadata = instance.metadata.iter().map(|(key, value)| format!("{key}={value}"));
    let metadata = metadata.collect::<Vec<_>>().join(" ");
    [instance.provider.to_string(), instance.node.to_string(), instance.region.clone(), metadata]
}

fn row(instance: &ServiceInstance) -> Value {
    let metadata: serde_json::Map<String, Value> =
        instance.metadata.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "name": instance.name,
        "provider": instance.provider.to_string(),
        "node": instance.node.to_string(),
        "instance": instance.instance,
        "region": instance.region,
        "ttl_ms": instance.ttl_ms,
        "metadata": metadata,
    })
}

/// Announces, says so, and waits until it is interrupted or a service can't be announced any longer.
async fn announce(
    client: &Client,
    services: impl Iterator<Item = Service>,
    ttl: Duration,
    common: &Common,
    output: Output,
) -> anyhow::Result<Code> {
    let announcing = try_join_all(services.map(|service| client.announce(service)));
    let announcing = announcing.map_err(|error| lease_refused(error, ttl));
    let announcements = within(common.timeout, "announce", announcing).await?;
    for announcement in &announcements {
        let words =
            format!("announced {} for {:?}, renewed until interrupted", announcement.name(), announcement.ttl());
        let ttl_ms = announcement.ttl().as_millis() as u64;
        output.result(&json!({ "event": "announced", "name": announcement.name(), "ttl_ms": ttl_ms }), words)?;
    }
    tokio::select! {
        interrupted = super::interrupted() => interrupted?,
        (ended, ..) = select_all(announcements.iter().map(|one| Box::pin(one.ended()))) => return Err(ended.into()),
    }
    within(common.timeout, "withdraw", try_join_all(announcements.into_iter().map(|one| one.withdraw()))).await?;
    Ok(Code::Ok)
}
