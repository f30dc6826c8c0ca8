//go:build tools

// What else is built from this module, by the name of its package.
package main

import _ "k8s.io/kubernetes/test/images/agnhost"
