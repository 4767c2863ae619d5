//! Tasks that are told to stop together.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A group of tasks; dropping it leaves them running.
#[derive(Default)]
pub(super) struct Tasks {
    stop: CancellationToken,
    running: TaskTracker,
}

impl Tasks {
    /// Starts a task, which is to end when its token is cancelled.
    pub fn spawn<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let task = task(self.stop.clone());
        self.running.spawn(async move { drop(task.await) });
    }

    /// Tells all to stop, and waits for it.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.running.close();
        self.running.wait().await;
    }
}
