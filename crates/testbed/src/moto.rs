//! moto's server: AWS as others understand it.
//!
//! moto is an independent implementation, so it finds mistakes that our own emulator shares with our client. It has
//! no faults on demand and no permissions.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tools::{Tool, Tools};

use crate::process::{Background, free_port, http_get, wait_for};

/// Stops when its standard input closes, like all parts of the test bed.
const MAIN: &str = "
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";

/// A running moto server. Dropped, it ends.
#[derive(Debug)]
pub struct Moto {
    _process: Background,
    _directory: TempDir,
    port: u16,
}

impl Moto {
    /// Starts an empty server.
    pub fn start() -> Result<Self> {
        let python = Tools::open()?.need(Tool::Moto)?;
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = Command::new(python);
        command.args(["-c", MAIN, &port.to_string()]);
        let mut process =
            Background::start("moto", &mut command, &directory.path().join("moto.log"))?;
        wait_for("moto", Duration::from_secs(60), || {
            process.check()?;
            let (code, _) = http_get(port, "/moto-api/data.json")?;
            ensure!(code == 200, "moto answers {code}");
            Ok(())
        })?;
        Ok(Self {
            _process: process,
            _directory: directory,
            port,
        })
    }

    /// The address for every AWS service.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Moto {
    /// Calls an action of Secrets Manager in us-east-1; moto accepts any credentials.
    pub fn secrets_manager(
        &self,
        action: &str,
        request: &serde_json::Value,
    ) -> Result<serde_json::Value> {
        self.call("secretsmanager", action, request)
    }

    /// Calls an action of a service (`secretsmanager`, `ssm` or `sqs`) in us-east-1; moto accepts any credentials.
    ///
    /// The request and the answer are in the JSON protocol of AWS. An error of the service is an error here.
    pub fn call(
        &self,
        service: &str,
        action: &str,
        request: &serde_json::Value,
    ) -> Result<serde_json::Value> {
        let target = match service {
            "ssm" => "AmazonSSM",
            "sqs" => "AmazonSQS",
            other => other,
        };
        let headers = format!(
            "X-Amz-Target: {target}.{action}\r\nContent-Type: application/x-amz-json-1.1\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=anybody/20260101/us-east-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\n"
        );
        let (code, body) =
            crate::process::http(self.port, "POST", "/", &headers, &request.to_string())?;
        ensure!(code == 200, "moto answers {action} with {code}: {body}");
        Ok(serde_json::from_str(&body)?)
    }
}
