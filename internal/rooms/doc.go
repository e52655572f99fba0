// SPDX-License-Identifier: Apache-2.0

// Package rooms has no code: its test is the plan of the house, which says
// what each room of the project may import.
package rooms
