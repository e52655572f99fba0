// SPDX-License-Identifier: Apache-2.0

// Command farm tests the no-IOMMU mode of Linux's VFIO on kernels that it
// builds and in guests that it boots. "farm --help" is the manual.
package main

import (
	"os"

	"noiommu-farm/farm/cli"
)

func main() { os.Exit(cli.Run(os.Args[1:], os.Stdout, os.Stderr)) }
