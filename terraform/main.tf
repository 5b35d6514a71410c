# The AWS resources that overlayd needs: the secret, the role with its policy, and the Pod Identity association.
# The value of the secret is not here. Set it with `aws secretsmanager put-secret-value` or `just external-secrets-test`.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.40"
    }
  }
}

variable "cluster" {
  description = "The name of the EKS cluster."
  type        = string
}

data "aws_eks_cluster" "this" {
  name = var.cluster
}

resource "aws_eks_addon" "pod_identity" {
  cluster_name = var.cluster
  addon_name   = "eks-pod-identity-agent"
}

resource "aws_secretsmanager_secret" "db_credentials" {
  name        = "training/db-credentials"
  description = "JSON with username and password, for the Secret db-creds."
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]
    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }
    # Pod Identity puts these tags on each session. Without the conditions, an association of any cluster and service account
    # could give this role to pods. The ARN of the cluster names the account, too.
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/eks-cluster-arn"
      values   = [data.aws_eks_cluster.this.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-namespace"
      values   = ["external-secrets"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-service-account"
      values   = ["overlayd"]
    }
  }
}

data "aws_iam_policy_document" "read" {
  statement {
    actions   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
    resources = [aws_secretsmanager_secret.db_credentials.arn]
  }
  # This action cannot be limited to resources. It permits reading twenty secrets in a call, and each value needs the
  # statement above in addition. An ExternalSecret with `find` also needs `secretsmanager:ListSecrets`, which shows the
  # names of all secrets of the account; `overlayd iam` prints the statement.
  statement {
    actions   = ["secretsmanager:BatchGetSecretValue"]
    resources = ["*"]
  }
}

resource "aws_iam_role" "overlayd" {
  name               = "overlayd"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "read" {
  name   = "overlayd-read-training"
  role   = aws_iam_role.overlayd.id
  policy = data.aws_iam_policy_document.read.json
}

resource "aws_eks_pod_identity_association" "overlayd" {
  cluster_name    = var.cluster
  namespace       = "external-secrets"
  service_account = "overlayd"
  role_arn        = aws_iam_role.overlayd.arn
}

# Rotation events: a rule sends the events that CloudTrail has of Secrets Manager to a queue, which overlayd reads. This
# needs a trail that records management events in this region.

resource "aws_sqs_queue" "rotations" {
  name                      = "overlayd-rotations"
  message_retention_seconds = 3600
  sqs_managed_sse_enabled   = true
}

resource "aws_cloudwatch_event_rule" "rotations" {
  name        = "overlayd-rotations"
  description = "Secrets whose value has changed, or that were deleted or restored."
  event_pattern = jsonencode({
    source      = ["aws.secretsmanager"]
    detail-type = ["AWS API Call via CloudTrail", "AWS Service Event via CloudTrail"]
    detail = {
      eventSource = ["secretsmanager.amazonaws.com"]
      eventName = [
        "PutSecretValue",
        "UpdateSecret",
        "UpdateSecretVersionStage",
        "RotationSucceeded",
        "DeleteSecret",
        "RestoreSecret",
      ]
    }
  })
}

resource "aws_cloudwatch_event_target" "rotations" {
  rule = aws_cloudwatch_event_rule.rotations.name
  arn  = aws_sqs_queue.rotations.arn
}

# Only this rule may send messages to the queue.
data "aws_iam_policy_document" "rotations" {
  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.rotations.arn]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.rotations.arn]
    }
  }
}

resource "aws_sqs_queue_policy" "rotations" {
  queue_url = aws_sqs_queue.rotations.url
  policy    = data.aws_iam_policy_document.rotations.json
}

data "aws_iam_policy_document" "listen" {
  statement {
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
    resources = [aws_sqs_queue.rotations.arn]
  }
}

resource "aws_iam_role_policy" "listen" {
  name   = "overlayd-listen-for-rotations"
  role   = aws_iam_role.overlayd.id
  policy = data.aws_iam_policy_document.listen.json
}

output "rotation_queue" {
  description = "The URL of the queue, for --rotation-queue or OVERLAYD_ROTATION_QUEUE."
  value       = aws_sqs_queue.rotations.url
}
