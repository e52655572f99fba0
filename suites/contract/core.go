// SPDX-License-Identifier: Apache-2.0

package contract

// coreIDs are the statements that a gate runs: for each part of the feature
// those that a mistake in it is likely to break, and that take little time.
var coreIDs = []string{
	"KC-01", "KC-02", "KC-03", "KC-04", "KC-05", "KC-06", "KC-07", "KC-08", "KC-09", "KC-10", "KC-11", "KC-12",
	"ND-01", "ND-02", "ND-03", "ND-04", "ND-05", "ND-06", "ND-07", "ND-09", "ND-10", "ND-11", "ND-12", "ND-14",
	"GR-01", "GR-02", "GR-03", "GR-04", "GR-05", "GR-06", "GR-07", "GR-08", "GR-09", "GR-10", "GR-11", "GR-12", "GR-13", "GR-14", "GR-15", "GR-16", "GR-18", "GR-21", "GR-22",
	"CD-01", "CD-02", "CD-03", "CD-04", "CD-05", "CD-07", "CD-08", "CD-09", "CD-10", "CD-11", "CD-13", "CD-16",
	"IA-01", "IA-02", "IA-03", "IA-04", "IA-05", "IA-06", "IA-07", "IA-08", "IA-09", "IA-11", "IA-12", "IA-14", "IA-15",
	"PA-01", "PA-02", "PA-03", "PA-04", "PA-05", "PA-06", "PA-07", "PA-08", "PA-09", "PA-10", "PA-11", "PA-12", "PA-13", "PA-14", "PA-15", "PA-16",
	"DM-01", "DM-02", "DM-04",
	"IR-01", "IR-02", "IR-03", "IR-04",
	"PE-01", "PE-02", "PE-03", "PE-04", "PE-05", "PE-06", "PE-12", "PE-13", "PE-14",
	"LC-01", "LC-02", "LC-03", "LC-05", "LC-08", "LC-10",
	"CX-01", "CX-03", "CX-05", "CX-06", "CX-09",
	"IP-01", "IP-03", "IP-04", "IP-09",
	"TL-01", "TL-02", "TL-03", "TL-04", "TL-05",
	"ST-01", "ST-03", "ST-04",
}
