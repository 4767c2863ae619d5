//! Finds for the stack where a request within a dialog goes, over a stream of ours: it would open one of its own, which
//! trusts what peers say about lengths.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use rsipstack::sip::Uri;
use rsipstack::transaction::endpoint::TargetLocator;
use rsipstack::transport::SipAddr;

use super::kind_of;
use crate::sip::registrar::Flow;

/// A way that is being looked for; a sentence where there is none.
pub(crate) type Sought = Pin<Box<dyn Future<Output = Result<Flow, String>> + Send>>;

type Reach = Box<dyn Fn(Uri) -> Sought + Send + Sync>;

/// Asks the edge, once that is there.
#[derive(Clone, Default)]
pub(crate) struct Locator(Arc<OnceLock<Reach>>);

impl Locator {
    pub(crate) fn serve(&self, reach: impl Fn(Uri) -> Sought + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(reach));
    }
}

impl TargetLocator for Locator {
    fn locate<'me, 'uri, 'both>(
        &'me self,
        uri: &'uri Uri,
    ) -> Pin<Box<dyn Future<Output = rsipstack::Result<SipAddr>> + Send + 'both>>
    where
        'me: 'both,
        'uri: 'both,
        Self: 'both,
    {
        Box::pin(async move {
            let closed = || rsipstack::Error::Error("the edge is closed".to_owned());
            let reach = self.0.get().ok_or_else(closed)?;
            let flow = reach(uri.clone()).await.map_err(rsipstack::Error::Error)?;
            Ok(SipAddr::new(kind_of(flow.transport), flow.source.into()))
        })
    }
}
