// SPDX-License-Identifier: Apache-2.0

package contract

// Statements are the promises that have a test, in the order in which the
// suites run.
var Statements = []Statement{}
