// SPDX-License-Identifier: Apache-2.0
//
// ca: `isthmesh ca root|intermediate|inspect`: a root for the mesh and one intermediate per cluster, under
// the file names and with the contents of Istio's certificate Makefile. Files that exist are kept, so that
// running it again never rotates a key.
#ifndef CLI_CA_H
#define CLI_CA_H

int cli_ca(int argc, char **argv);

#endif
