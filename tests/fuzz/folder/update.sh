#!/bin/sh
echo "$PACKAGES"
