//! The stack as the edge runs it: its transactions, its dialogs, and what it forgets.

use std::net::SocketAddr;
use std::sync::Arc;

use rsipstack::EndpointBuilder;
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::transaction::TransactionReceiver;
use rsipstack::transaction::endpoint::{EndpointInnerRef, EndpointOption};
use rsipstack::transport::TransportLayer;
use tokio_util::sync::CancellationToken;

use super::ack_credentials::AckCredentials;
use super::datagrams::Datagrams;
use super::inspector::Inspector;
use super::locator::Locator;
use super::reliable_provisionals::ReliableProvisionals;
use crate::gateway::sip::dialog::table::DialogTable;
use crate::gateway::sip::edge::config::SipConfig;

/// The stack.
pub(crate) struct Stack {
    pub(crate) endpoint: EndpointInnerRef,
    pub(crate) layer: Arc<DialogLayer>,
    pub(crate) provisionals: Arc<ReliableProvisionals>,
}

impl Stack {
    /// Sets it up; it works once its endpoint is served. Gives the requests that open a transaction, too.
    pub(crate) async fn new(
        config: &SipConfig,
        cut: &CancellationToken,
        (datagrams, name): (&Datagrams, SocketAddr),
        locator: &Locator,
        dialogs: &Arc<DialogTable>,
    ) -> rsipstack::Result<(Self, TransactionReceiver)> {
        let transport = TransportLayer::new(cut.child_token());
        let sender = datagrams.clone().for_stack(name).await;
        transport.add_transport(sender.into());
        let provisionals = Arc::<ReliableProvisionals>::default();
        let endpoint = EndpointBuilder::new()
            .with_cancel_token(cut.child_token())
            .with_transport_layer(transport)
            .with_user_agent(&config.user_agent)
            .with_option(EndpointOption {
                t1: config.t1,
                t2: config.t1 * 8,
                t4: config.t1 * 10,
                t1x64: config.t1 * 64,
                // Without one, the stack signs with its own maker's domain.
                callid_suffix: Some("xinqiao".to_owned()),
                ..EndpointOption::default()
            })
            .with_target_locator(Box::new(locator.clone()))
            .with_inspector(Box::new(Inspector {
                retry_after: config.retry_after,
                provisionals: provisionals.clone(),
                dialogs: dialogs.clone(),
                ack_credentials: AckCredentials::default(),
            }))
            .build();
        let incoming = endpoint.incoming_transactions()?;
        let stack = Self {
            layer: Arc::new(DialogLayer::new(endpoint.inner.clone())),
            endpoint: endpoint.inner,
            provisionals,
        };
        Ok((stack, incoming))
    }
}
