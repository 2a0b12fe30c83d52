use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sinew_discovery::{AnnounceSpec, Discovery, Grant, Owner, Providers, ProvidersError};
use sinew_wire::{ProviderHealth, Refusal};

/// A future of a [`Directory`].
pub type Looking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who provides what. That of a node is [`Discovery`], whose methods these are.
pub trait Directory: Send + Sync + 'static {
    /// See [`Discovery::announce`].
    fn announce(&self, owner: Owner, spec: AnnounceSpec) -> Result<Grant, Refusal>;
    /// See [`Discovery::withdraw`].
    fn withdraw(&self, session: u64, lease: u32) -> Result<(), Refusal>;
    /// See [`Discovery::set_health`].
    fn set_health(&self, session: u64, lease: u32, health: ProviderHealth) -> Result<(), Refusal>;
    /// See [`Discovery::providers`].
    fn providers<'a>(
        &'a self,
        name: &'a str,
        deadline: Duration,
    ) -> Looking<'a, Result<Arc<Providers>, ProvidersError>>;
    /// See [`Discovery::providers_now`].
    fn providers_now(&self, name: &str) -> Option<Arc<Providers>>;
    /// See [`Discovery::revision`].
    fn revision(&self) -> u64;
    /// See [`Discovery::forget`].
    fn forget(&self, name: &str);
    /// See [`Discovery::ended`].
    fn ended(&self) -> Looking<'_, Vec<u64>>;
}

impl Directory for Discovery {
    fn announce(&self, owner: Owner, spec: AnnounceSpec) -> Result<Grant, Refusal> {
        Self::announce(self, owner, spec)
    }

    fn withdraw(&self, session: u64, lease: u32) -> Result<(), Refusal> {
        Self::withdraw(self, session, lease)
    }

    fn set_health(&self, session: u64, lease: u32, health: ProviderHealth) -> Result<(), Refusal> {
        Self::set_health(self, session, lease, health)
    }

    fn providers<'a>(
        &'a self,
        name: &'a str,
        deadline: Duration,
    ) -> Looking<'a, Result<Arc<Providers>, ProvidersError>> {
        Box::pin(Self::providers(self, name, deadline))
    }

    fn providers_now(&self, name: &str) -> Option<Arc<Providers>> {
        Self::providers_now(self, name)
    }

    fn revision(&self) -> u64 {
        Self::revision(self)
    }

    fn forget(&self, name: &str) {
        Self::forget(self, name);
    }

    fn ended(&self) -> Looking<'_, Vec<u64>> {
        Box::pin(Self::ended(self))
    }
}
