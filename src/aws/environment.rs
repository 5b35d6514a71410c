//! Reads the process's environment: addresses that replace those of AWS.

/// Addresses of AWS services, by the variables that External Secrets reads too. The SDK reads its own variables.
#[derive(Debug, Clone, Default)]
pub(crate) struct AwsEnvironment {
    /// `AWS_SECRETSMANAGER_ENDPOINT`.
    pub(crate) secrets_manager_endpoint: Option<String>,
    /// `AWS_SSM_ENDPOINT`.
    pub(crate) parameter_store_endpoint: Option<String>,
    /// `AWS_STS_ENDPOINT`.
    pub(crate) sts_endpoint: Option<String>,
}

impl AwsEnvironment {
    /// The variables of this process. An empty variable counts as none.
    pub(crate) fn of_process() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self {
            secrets_manager_endpoint: variable("AWS_SECRETSMANAGER_ENDPOINT"),
            parameter_store_endpoint: variable("AWS_SSM_ENDPOINT"),
            sts_endpoint: variable("AWS_STS_ENDPOINT"),
        }
    }
}
