// SPDX-License-Identifier: Apache-2.0

package edu

// A process that does not map BAR0 starts a transfer with four writes of eight
// bytes to the device's file, at these offsets in BAR0 and in this order.
const (
	SourceRegister  = sourceRegister
	TargetRegister  = targetRegister
	CountRegister   = countRegister
	CommandRegister = commandRegister

	// BufferAddress is the device's own buffer, as source or target.
	BufferAddress = bufferAddress
	// StoreCommand has the device write to memory.
	StoreCommand = runCommand | toRAMCommand
)
