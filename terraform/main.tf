# The AWS side as code: the secret, the role and its policy, and the Pod Identity association.
# The value of the secret is not here: put it with `aws secretsmanager put-secret-value`, or `just external-secrets-test`.

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

resource "aws_eks_addon" "pod_identity" {
  cluster_name = var.cluster
  addon_name   = "eks-pod-identity-agent"
}

resource "aws_secretsmanager_secret" "db_credentials" {
  name        = "training/db-credentials"
  description = "JSON with username and password; becomes the Secret db-creds."
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]
    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "read" {
  statement {
    actions   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
    resources = [aws_secretsmanager_secret.db_credentials.arn]
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
