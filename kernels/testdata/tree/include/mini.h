/* SPDX-License-Identifier: Apache-2.0 */
#define MINI_ANSWER 42
